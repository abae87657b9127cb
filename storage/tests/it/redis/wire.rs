//! The network between a replica and its server, as far as it can fail.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Forwards to a server until it is stalled: then bytes are swallowed both ways, and no connection
/// learns of it, as behind a cable that was pulled. Connections that were stalled stay so.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) port: u16,
    stalled: Arc<watch::Sender<bool>>,
    _work: JoinSet<()>,
}

impl Wire {
    /// A wire to the server at `url`.
    pub(crate) async fn to(port: u16) -> Self {
        Self::new(Some(port)).await
    }

    /// A server that accepts and never answers.
    pub(crate) async fn to_nobody() -> Self {
        Self::new(None).await
    }

    async fn new(server: Option<u16>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stalled = Arc::new(watch::Sender::new(server.is_none()));
        let mut work = JoinSet::new();
        let state = Arc::clone(&stalled);
        work.spawn(async move {
            let mut pipes = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let state = state.subscribe();
                pipes.spawn(async move {
                    let (read, write) = near.into_split();
                    let Some(server) = server.filter(|_| !*state.borrow()) else {
                        return swallow(read, write).await;
                    };
                    let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else { return };
                    let (far_read, far_write) = far.into_split();
                    tokio::join!(forward(read, far_write, state.clone()), forward(far_read, write, state));
                });
            }
        });
        Self { port, stalled, _work: work }
    }

    pub(crate) fn stall(&self) {
        self.stalled.send_replace(true);
    }

    /// Lets new connections pass.
    pub(crate) fn mend(&self) {
        self.stalled.send_replace(false);
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut stalled: watch::Receiver<bool>) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            biased;
            () = async { drop(stalled.wait_for(|stalled| *stalled).await) } => break,
            read = from.read(&mut bytes) => read,
        };
        match read {
            Ok(read) if read > 0 && to.write_all(&bytes[..read]).await.is_ok() => {}
            _ => return,
        }
    }
    swallow(from, to).await;
}

/// Keeps the other side from being told that its peer has gone.
async fn swallow(mut from: OwnedReadHalf, to: OwnedWriteHalf) {
    let mut bytes = vec![0; 16 * 1024];
    while from.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    drop(to);
}
