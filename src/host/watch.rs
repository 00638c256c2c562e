//! Watches on the cluster's objects: one stream each, all into one bell. What changed is not told; the probe looks again.

use std::{pin::pin, time::Duration};

use futures_util::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::{runtime::Handle, sync::mpsc, task::JoinHandle};

use super::{Changes, Watch, poll};
use crate::kube::Client;

/// Changes come in bursts (a pod's status changes several times within a moment): one look serves them all.
const BURST: Duration = Duration::from_millis(40);

/// Watches that ring one bell. Dropping it ends them.
pub struct Bell {
    runtime: Handle,
    rings: mpsc::Receiver<()>,
    tasks: Vec<JoinHandle<()>>,
    pause: Duration,
    stop: tokio::sync::watch::Receiver<u8>,
}

impl Bell {
    /// Starts to watch.
    pub fn new(
        runtime: &Handle,
        client: &std::sync::Arc<Client>,
        stop: tokio::sync::watch::Receiver<u8>,
        what: &[Watch],
    ) -> Self {
        let (ring, rings) = mpsc::channel(1);
        let mut bell = Self { runtime: runtime.clone(), rings, tasks: Vec::new(), pause: Duration::MAX, stop };
        for watch in what {
            match watch {
                Watch::Pause(pause) => bell.pause = bell.pause.min(*pause),
                Watch::Objects(kind, namespace) => {
                    let (kind, client, ring, namespace) = (*kind, client.clone(), ring.clone(), namespace.clone());
                    bell.tasks.push(runtime.spawn(async move {
                        // Until the server is there, the bell stays silent and the caller's own limit wakes it.
                        let api = loop {
                            match client.api(kind, namespace.as_deref()).await {
                                Ok(api) => break api,
                                Err(_) => poll::again().await,
                            }
                        };
                        let mut stream = pin!(watcher(api, watcher::Config::default()).default_backoff());
                        while let Some(event) = stream.next().await {
                            if event.is_ok() {
                                // A bell that already rings needs no second pull.
                                let _ = ring.try_send(());
                            }
                        }
                    }));
                }
            }
        }
        bell
    }
}

impl Changes for Bell {
    fn next(&mut self, at_most: Duration) {
        let limit = at_most.min(self.pause);
        let Self { runtime, rings, stop, .. } = self;
        runtime.block_on(async {
            tokio::select! {
                () = poll::pause(limit) => {}
                _ = stop.wait_for(|level| *level > 0) => {}
                Some(()) = rings.recv() => poll::pause(BURST).await,
            }
            while rings.try_recv().is_ok() {}
        });
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
