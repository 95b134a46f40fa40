// The closed model: a fixed number of users, each sending its next form when the last was answered,
// without a pause. By default 1,000 users x 5 forms. It judges behaviour under many connections;
// k6 costs more than the line itself on a small machine, so `make bench` judges speed.
//
//   k6 run -e VUS=1000 -e ITERATIONS=5 -e BASE_URL=http://127.0.0.1:8080 loadtest/k6/closed.js
//
// Runs on k6 1.8 and 2.x. Also: ADMIN_URL (readiness), SUMMARY (path of the .json and .txt written).

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
    // All users at once on two cores that k6 shares with the line and with Kafka.
    http_req_duration: ['p(95)<3000', 'p(99)<5000'],
    // Every form was sent: k6 leaves out what maxDuration cuts off without failing.
    iterations: [`count==${VUS * ITERATIONS}`],
  },
  summaryTrendStats: ['min', 'med', 'avg', 'p(95)', 'p(99)', 'max'],
};

// Waits up to 30 s for the line, so that a start in progress is not measured as failures.
export function setup() {
  for (let second = 0; second < 30; second += 1) {
    if (http.get(`${ADMIN_URL}/readyz`, { responseCallback: null }).status === 200) {
      // Rolls of one run never meet those of another.
      return { run: Date.now().toString(36).toUpperCase() };
    }
    sleep(1);
  }
  return fail(`${ADMIN_URL}/readyz does not say ready: start the line with make up`);
}

export default function (data) {
  const number = exec.scenario.iterationInTest;
  // As apps/student-data/student-data.schema.json wants it: numbers are decimal text.
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
  const answer = http.post(FORM, JSON.stringify(form), {
    headers: { 'Content-Type': 'application/json', Accept: 'application/json' },
  });
  check(answer, {
    'is 202': ({ status }) => status === 202,
    'names the submission': ({ headers }) => /^\/v1\/submissions\/\S+$/.test(headers.Location || ''),
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
    `  answered    p50 ${ms(med)}, average ${ms(avg)}, p95 ${ms(percentiles['p(95)'])}, p99 ${ms(percentiles['p(99)'])}, max ${ms(max)}, min ${ms(min)}`,
    '  thresholds',
  ];
  for (const [name, { thresholds }] of Object.entries(metrics)) {
    for (const [rule, { ok }] of Object.entries(thresholds || {})) {
      lines.push(`    ${ok ? 'held  ' : 'FAILED'} ${name} ${rule}`);
    }
  }
  return `${lines.join('\n')}\n`;
}
