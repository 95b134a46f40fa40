// A closed model: a fixed number of users, each of which sends its next form after the response to
// the previous one, without a pause. The default is 1,000 users x 5 forms. It tests the behaviour
// with many connections. To measure speed, use `make bench`, because on a small machine k6 needs
// more CPU time than the pipeline.
//
//   k6 run -e VUS=1000 -e ITERATIONS=5 -e BASE_URL=http://127.0.0.1:8080 loadtest/k6/closed.js
//
// Runs on k6 1.8 and 2.x. More variables: ADMIN_URL (for readiness), SUMMARY (path of the .json and
// .txt files to write).

import http from 'k6/http';
import { check, fail, sleep } from 'k6';
import exec from 'k6/execution';

const BASE_URL = __ENV.BASE_URL || 'http://127.0.0.1:8080';
const ADMIN_URL = __ENV.ADMIN_URL || 'http://127.0.0.1:8081';
const SUMMARY = __ENV.SUMMARY || 'closed';
const VUS = Number(__ENV.VUS || 1000);
const ITERATIONS = Number(__ENV.ITERATIONS || 5);

const FORM = `${BASE_URL}/student-data-form`;
const GIVEN = ['Asha', 'Björn', 'Chidi', 'Dalia', 'Emeka', 'Farah', 'Guō', 'Hana', 'Iñaki', 'Jyoti'];
const FAMILY = ['Rao', 'Lindqvist', 'Okafor', 'Haddad', "O'Neill", 'Tanaka', 'Müller', 'Silva'];
const UNIVERSITIES = ['NIT Trichy', 'ETH Zürich', 'University of Lagos', 'Université de Montréal'];

export const options = {
  scenarios: {
    closed: {
      executor: 'per-vu-iterations',
      vus: VUS,
      iterations: ITERATIONS,
      maxDuration: '5m',
    },
  },
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    // For all users at once on two cores, which k6 shares with the pipeline and Kafka.
    http_req_duration: ['p(95)<3000', 'p(99)<5000'],
    // All forms must be sent: k6 does not fail if maxDuration ends the run early.
    iterations: [`count==${VUS * ITERATIONS}`],
  },
  summaryTrendStats: ['min', 'med', 'avg', 'p(95)', 'p(99)', 'max'],
};

// Waits up to 30 s until the pipeline is ready, so that its start does not count as failures.
export function setup() {
  for (let second = 0; second < 30; second += 1) {
    if (http.get(`${ADMIN_URL}/readyz`, { responseCallback: null }).status === 200) {
      // The roll numbers of different runs differ.
      return { run: Date.now().toString(36).toUpperCase() };
    }
    sleep(1);
  }
  return fail(`${ADMIN_URL}/readyz does not report readiness; run make up first`);
}

export default function (data) {
  const number = exec.scenario.iterationInTest;
  // In the format of apps/student-data/student-data.schema.json: numbers are decimal text.
  const form = {
    roll: `${data.run}-${number}`,
    name: `${GIVEN[number % GIVEN.length]} ${FAMILY[number % FAMILY.length]}`,
    university: UNIVERSITIES[number % UNIVERSITIES.length],
    cgpa: `${4 + (number % 6)}.${number % 100}`,
    gender: ['F', 'M', 'X'][number % 3],
    age: `${17 + (number % 50)}`,
    email: `student-${number}@example.org`,
    mobile: `${7000000000 + number}`,
  };
  const response = http.post(FORM, JSON.stringify(form), {
    headers: { 'Content-Type': 'application/json', Accept: 'application/json' },
  });
  check(response, {
    'is 202': ({ status }) => status === 202,
    'has the location of the submission': ({ headers }) => /^\/v1\/submissions\/\S+$/.test(headers.Location || ''),
  });
}

export function handleSummary(data) {
  const text = report(data);
  return {
    stdout: text,
    [`${SUMMARY}.txt`]: text,
    [`${SUMMARY}.json`]: JSON.stringify(data, null, 2),
  };
}

function report({ metrics, state }) {
  const { min, med, avg, max, ...percentiles } = metrics.http_req_duration.values;
  const ms = (value) => `${value.toFixed(1)} ms`;
  const sent = metrics.iterations ? metrics.iterations.values.count : 0;
  const lines = [
    `closed model: ${VUS} users x ${ITERATIONS} forms to ${FORM}`,
    `  sent        ${sent} of ${VUS * ITERATIONS} in ${(state.testRunDurationMs / 1000).toFixed(1)} s`,
    `  responses   p50 ${ms(med)}, average ${ms(avg)}, p95 ${ms(percentiles['p(95)'])}, p99 ${ms(percentiles['p(99)'])}, max ${ms(max)}, min ${ms(min)}`,
    '  thresholds',
  ];
  for (const [name, { thresholds }] of Object.entries(metrics)) {
    for (const [rule, { ok }] of Object.entries(thresholds || {})) {
      lines.push(`    ${ok ? 'passed' : 'FAILED'} ${name} ${rule}`);
    }
  }
  return `${lines.join('\n')}\n`;
}
