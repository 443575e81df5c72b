//! The line between one node and the server: slow, cut, or with a node at its end that stands still or is gone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::super::lock;
use super::Weather;
use crate::bus::{Link, Live};
use crate::chance::Chance;
use crate::error::LogError;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest way there or back, in milliseconds, when it is slow.
const SLOW_MS_MAX: u64 = 2_000;

/// How the line and its end are.
#[derive(Clone, Copy, Debug, Default)]
struct Condition {
    /// Nothing comes through.
    cut: bool,
    /// The node stands still: nothing it does comes further until it goes on.
    paused: bool,
    /// The node is gone for good. What is left of it waits for ever and is seen by nobody.
    dead: bool,
    /// After how many more points on its ways it is gone.
    fuse: Option<u64>,
    weather: Weather,
}

/// One node's line.
pub(super) struct Wire {
    chance: Mutex<Chance>,
    condition: Mutex<Condition>,
    changed: Notify,
    /// When the newest of what was sent arrives: what a node sends goes in order, as on a connection.
    arrives: Mutex<Instant>,
    connects: Mutex<u64>,
    /// One for each who looks: a `watch` with several wakes them by chance.
    links: Mutex<Vec<watch::Sender<Link>>>,
}

/// A message arrives, at once only after others had their turn.
async fn arrive(at: Instant) {
    if at <= Instant::now() {
        tokio::task::yield_now().await;
    } else {
        sleep_until(at).await;
    }
}

fn lost(what: &str) -> LogError {
    LogError::Unavailable(format!("{what} (simulated)"))
}

impl Wire {
    pub(super) fn new(chance: Chance) -> Self {
        Self {
            chance: Mutex::new(chance),
            condition: Mutex::default(),
            changed: Notify::new(),
            arrives: Mutex::new(Instant::now()),
            connects: Mutex::new(1),
            links: Mutex::default(),
        }
    }

    fn condition(&self) -> Condition {
        *lock(&self.condition)
    }

    fn change(&self, change: impl FnOnce(&mut Condition)) {
        change(&mut lock(&self.condition));
        self.changed.notify_waiters();
    }

    pub(super) fn is_sound(&self) -> bool {
        let Condition { cut, paused, dead, fuse, .. } = self.condition();
        !cut && !paused && !dead && fuse.is_none()
    }

    pub(super) fn is_dead(&self) -> bool {
        self.condition().dead
    }

    pub(super) fn set_weather(&self, weather: Weather) {
        self.change(|c| c.weather = weather);
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.change(|c| c.paused = paused);
    }

    pub(super) fn kill(&self) {
        self.change(|c| c.dead = true);
    }

    pub(super) fn kill_after(&self, points: Option<u64>) {
        self.change(|c| c.fuse = points);
    }

    /// A point at which a node may die: before something is done, after it, before it hears of it.
    fn point(&self) {
        let dies = {
            let mut condition = lock(&self.condition);
            let Some(fuse) = &mut condition.fuse else { return };
            *fuse = fuse.saturating_sub(1);
            *fuse == 0
        };
        if dies {
            self.kill();
        }
    }

    pub(super) fn set_cut(&self, cut: bool) {
        if self.condition().cut == cut {
            return;
        }
        self.change(|c| c.cut = cut);
        let connects = {
            let mut connects = lock(&self.connects);
            *connects += u64::from(!cut);
            *connects
        };
        for link in &*lock(&self.links) {
            link.send_replace(Link { up: !cut, connects });
        }
    }

    pub(super) fn link(&self) -> watch::Receiver<Link> {
        let (link, seen) =
            watch::channel(Link { up: !self.condition().cut, connects: *lock(&self.connects) });
        let mut links = lock(&self.links);
        links.retain(|link| !link.is_closed());
        links.push(link);
        seen
    }

    /// True as often as this kind of weather says.
    pub(super) fn happens(&self, kind: impl FnOnce(&Weather) -> u64) -> bool {
        let times = kind(&self.condition().weather);
        times > 0 && lock(&self.chance).per_mille(times)
    }

    pub(super) fn below(&self, n: usize) -> usize {
        usize::try_from(lock(&self.chance).below(n as u64)).unwrap_or(0)
    }

    async fn until(&self, wanted: impl Fn(&Condition) -> bool) {
        loop {
            let changed = self.changed.notified();
            let now = self.condition();
            if !now.dead && wanted(&now) {
                return;
            }
            changed.await;
        }
    }

    /// Waits until the node is at work; for ever where it is gone.
    pub(super) async fn awake(&self) {
        self.until(|c| !c.paused).await;
    }

    /// How long a message takes.
    fn way(&self) -> Duration {
        let slow = self.happens(|w| w.slow);
        let mut chance = lock(&self.chance);
        let quick = [0, 0, 0, 1, 2];
        let ms = if slow { chance.between(20, SLOW_MS_MAX) } else { *chance.pick(&quick).unwrap_or(&0) };
        Duration::from_millis(ms)
    }

    /// As long as the way back takes.
    async fn travel(&self) {
        arrive(Instant::now() + self.way()).await;
    }

    /// As long as the way there takes: no less than for what was sent before. No lock is held on the way, since whoever
    /// asks may not look at this for a while, and ask something else.
    async fn go(&self) {
        let at = {
            let way = self.way();
            let mut arrives = lock(&self.arrives);
            *arrives = (Instant::now() + way).max(*arrives);
            *arrives
        };
        arrive(at).await;
    }

    /// Has something done at the server and gives the answer. Each of the two ways may be too long: then nobody here
    /// knows whether it was done.
    pub(super) async fn ask<'a, T, E: From<LogError>>(
        &self,
        act: impl FnOnce() -> BoxFuture<'a, Result<T, E>>,
    ) -> Result<T, E> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if timeout_at(deadline, self.until(|c| !c.paused && !c.cut)).await.is_err() {
                self.awake().await;
                return Err(lost("it was not sent").into());
            }
            self.go().await;
            self.point();
            let now = self.condition();
            // What was on its way when the line was cut may still arrive.
            if !now.dead && !now.paused && (!now.cut || self.below(2) == 0) {
                break;
            }
        }
        if self.happens(|w| w.unsent) {
            sleep_until(deadline).await;
            self.awake().await;
            return Err(lost("it did not arrive").into());
        }
        let answer = act().await;
        self.point();
        self.travel().await;
        if self.condition().cut || self.happens(|w| w.unheard) {
            sleep_until(deadline).await;
            self.awake().await;
            return Err(lost("there was no answer").into());
        }
        self.awake().await;
        answer
    }

    /// What arrives here of a stream. Of one that nobody keeps, what comes while the line is cut is lost; any other goes
    /// on where it was.
    pub(super) fn hear<T: Send + 'static>(self: &Arc<Self>, live: Live<T>, kept: bool) -> Live<T> {
        stream::unfold(Some((live, Arc::clone(self))), move |state| async move {
            let (mut live, wire) = state?;
            loop {
                let item = live.next().await?;
                if !kept && wire.condition().cut {
                    continue;
                }
                if wire.below(4) == 0 {
                    wire.travel().await;
                }
                wire.point();
                wire.until(|c| !c.paused && !c.cut).await;
                if wire.happens(|w| w.broken) {
                    return Some((Err(lost("a stream has ended")), None));
                }
                return Some((item, Some((live, wire))));
            }
        })
        .boxed()
    }
}
