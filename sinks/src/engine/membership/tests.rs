//! What a membership waits for and for how long, without Kafka, and with a clock that advances only
//! while everything waits.

use futures::FutureExt as _;
use tokio::time::{sleep_until, timeout};

use super::*;

/// What a membership waits for. A position is the second in which locating began.
struct Waiting {
    start: Instant,
    phase: Phase<u64>,
    leftovers: FuturesUnordered<Leftover>,
    /// The pause between two polls of Kafka, at each of which the wait is dropped and begun again.
    pause: Duration,
}

/// A session with one piece of work.
struct OneWork(BoxFuture<'static, Result<Progress, Error>>);

/// When leftovers are cut off, in seconds.
const CUT: u64 = 10;

/// How long locating takes, in seconds.
const LOCATING: u64 = 2;

/// Longer than any wait.
const HOUR: Duration = Duration::from_secs(3_600);

// === impl Waiting ===

impl Waiting {
    fn of(phase: Phase<u64>, leftovers: impl IntoIterator<Item = Leftover>) -> Self {
        Self {
            start: Instant::now(),
            phase,
            leftovers: leftovers.into_iter().collect(),
            pause: HOUR,
        }
    }

    fn idle(leftovers: impl IntoIterator<Item = Leftover>) -> Self {
        Self::of(Phase::Idle, leftovers)
    }

    fn locating(leftovers: impl IntoIterator<Item = Leftover>) -> Self {
        let start = Instant::now();
        let locate = async move {
            let begun = start.elapsed().as_secs();
            tokio::time::sleep(Duration::from_secs(LOCATING)).await;
            Ok(begun)
        };
        Self::of(Phase::Locating(locate.boxed()), leftovers)
    }

    fn running(work: impl Future<Output = Result<Progress, Error>> + Send + 'static) -> Self {
        Self::of(Phase::Running(Box::new(OneWork(work.boxed()))), [])
    }

    fn polling(mut self) -> Self {
        self.pause = POLL;
        self
    }

    /// The next event and the second in which it comes. `None` if there is none within an hour.
    async fn next(&mut self) -> Option<(u64, Result<Event<u64>, Error>)> {
        let cut = self.start + Duration::from_secs(CUT);
        let begun = Instant::now();
        while begun.elapsed() < HOUR {
            let event = next(&mut self.phase, &mut self.leftovers, cut);
            if let Ok(event) = timeout(self.pause, event).await {
                return Some((self.start.elapsed().as_secs(), event));
            }
        }
        None
    }

    /// The seconds in which locating has begun and ended.
    async fn located(&mut self) -> (u64, u64) {
        let (ended, event) = self.next().await.unwrap();
        let Ok(Event::Located(begun)) = event else {
            unreachable!("no other event comes before the position")
        };
        (begun, ended)
    }

    /// The second in which the wait fails, and the error.
    async fn failed(&mut self) -> (u64, String) {
        let (second, event) = self.next().await.unwrap();
        (second, event.err().unwrap().to_string())
    }
}

// === impl OneWork ===

impl Session for OneWork {
    fn buffered(&self) -> usize {
        0
    }

    fn take(&mut self, _: Record) {}

    fn advance<'a>(
        &'a mut self,
        _: &'a [(Partition, i64)],
    ) -> BoxFuture<'a, Result<Offsets, Error>> {
        std::future::ready(Ok(Vec::new())).boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Progress, Error>> {
        Box::pin(&mut self.0)
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Offsets> {
        std::future::ready(Vec::new()).boxed()
    }
}

/// Work that ends in this second.
fn after<T: Send + 'static>(second: u64, value: T) -> BoxFuture<'static, T> {
    let end = Instant::now() + Duration::from_secs(second);
    sleep_until(end).map(|()| value).boxed()
}

fn ends(second: u64) -> Leftover {
    after(second, Ok(()))
}

fn fails(second: u64) -> Leftover {
    after(second, Err(Error::Redis("it failed".to_owned())))
}

fn never_ends() -> Leftover {
    pending().boxed()
}

#[tokio::test(start_paused = true)]
async fn locating_begins_when_all_leftovers_have_ended() {
    assert_eq!(Waiting::locating([]).located().await, (0, 2));
    let mut waiting = Waiting::locating([ends(3), ends(1)]);
    assert_eq!(waiting.located().await, (3, 5));
}

#[tokio::test(start_paused = true)]
async fn leftovers_that_do_not_end_are_dropped_at_the_cut() {
    let mut waiting = Waiting::locating([never_ends(), ends(1), ends(11)]);
    assert_eq!(waiting.located().await, (CUT, CUT + LOCATING));
    assert!(waiting.leftovers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_error_of_a_leftover_comes_before_the_position() {
    let failed = |second| (second, "it failed".to_owned());
    let mut waiting = Waiting::locating([ends(1), fails(3), never_ends()]);
    assert_eq!(waiting.failed().await, failed(3));
    let mut waiting = Waiting::locating([fails(0)]);
    waiting.phase = Phase::Locating(std::future::ready(Ok(0)).boxed());
    assert_eq!(
        waiting.failed().await,
        failed(0),
        "a position that is known"
    );
    assert_eq!(Waiting::idle([fails(3)]).failed().await, failed(3));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_when_the_wait_is_dropped_at_every_poll() {
    let mut waiting = Waiting::locating([ends(3), ends(1)]).polling();
    assert_eq!(waiting.located().await, (3, 5));
    let mut waiting = Waiting::locating([never_ends(), ends(1)]).polling();
    assert_eq!(waiting.located().await, (CUT, CUT + LOCATING));
    let mut waiting = Waiting::locating([ends(1), fails(3)]).polling();
    assert_eq!(waiting.failed().await, (3, "it failed".to_owned()));

    let mut waiting = Waiting::running(after(30, Ok(Progress::Lost))).polling();
    let (second, event) = waiting.next().await.unwrap();
    assert!(matches!(event, Ok(Event::Progress(Progress::Lost))));
    assert_eq!(second, 30);
}

#[tokio::test(start_paused = true)]
async fn leftovers_are_not_cut_off_while_no_partition_is_assigned() {
    let mut waiting = Waiting::idle([ends(30), ends(1)]).polling();
    for expected in [1, 30] {
        let (second, event) = waiting.next().await.unwrap();
        assert!(matches!(event, Ok(Event::Leftover)));
        assert_eq!(second, expected);
    }
    assert!(waiting.next().await.is_none(), "there is nothing left");
}
