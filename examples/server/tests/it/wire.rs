//! A wire between the server and a database that a test can cut, hold and mend.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// They pass.
    Whole,
    /// Those that are open end, and new ones end as soon as they are made: the server is restarting.
    Cut,
    /// They are accepted, and nothing comes back.
    Silent,
}

/// The wire itself.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    state: watch::Sender<State>,
}

impl Wire {
    /// A wire to `target`, whole.
    pub(crate) async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, now) = watch::channel(State::Whole);
        let target: Arc<str> = target.into();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, Arc::clone(&target), now.clone()));
            }
        });
        Self { address, state }
    }

    pub(crate) fn set(&self, state: State) {
        self.state.send_replace(state);
    }
}

async fn carry(mut near: TcpStream, target: Arc<str>, mut now: watch::Receiver<State>) {
    let state = *now.borrow_and_update();
    match state {
        State::Cut => {}
        // Kept open, and never read, until the wire changes.
        State::Silent => drop(now.changed().await),
        State::Whole => {
            let Ok(mut far) = TcpStream::connect(&*target).await else { return };
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                _ = now.changed() => {
                    // A connection that was open when the wire fell silent hangs.
                    if *now.borrow() == State::Silent {
                        drop(now.changed().await);
                    }
                }
            }
        }
    }
}
