//! The one place that waits for time to pass. What can be watched is watched; where no change is reported, it is checked again after
//! [`EVERY`], and nowhere else does this program sleep (clippy's `disallowed-methods` sees to that).

use std::time::Duration;

/// Between two looks.
pub const EVERY: Duration = Duration::from_millis(100);

/// Until the next look.
pub async fn again() {
    pause(EVERY).await;
}

/// The same, for a thread.
pub fn again_in_thread() {
    pause_in_thread(EVERY);
}

/// Before somebody is asked again who did not answer, for a thread.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn pause_in_thread(time: Duration) {
    std::thread::sleep(time);
}

/// A limit of something that is watched.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
