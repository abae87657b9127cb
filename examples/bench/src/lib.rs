//! What the benchmark measures the server against.
//!
//! Two programs, both on one thread so that one core is all they can use:
//!
//! - `mock-vendor` answers like OpenRouter and like Gemini, from memory, faster than anything in front of it;
//! - `bare-proxy` is the least a gateway can be: hyper on both sides, bytes passed as they come. Its CPU time per
//!   request is the unit in which the server's is told.
//!
//! `cargo xtask bench` builds and drives them. `bench-storage` has nothing to do with either: it measures the stores,
//! and `cargo xtask bench storage` runs it.

pub mod replies;

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

/// What may go wrong before a program serves.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The options of a program, each `--name value`; anything else is refused.
///
/// ```
/// let options = aihub_bench::options(["--listen", "127.0.0.1:0"].map(String::from), &["listen"]).unwrap();
/// assert_eq!(options["listen"], "127.0.0.1:0");
/// assert!(aihub_bench::options(["--listne".into(), "x".into()], &["listen"]).is_err());
/// ```
pub fn options(args: impl IntoIterator<Item = String>, known: &[&str]) -> Result<HashMap<String, String>, Failure> {
    let mut args = args.into_iter();
    let mut options = HashMap::new();
    while let Some(arg) = args.next() {
        let name = arg.strip_prefix("--").filter(|name| known.contains(name));
        let name = name.ok_or_else(|| format!("unknown option `{arg}`; there are: --{}", known.join(", --")))?;
        let value = args.next().ok_or_else(|| format!("`{arg}` needs a value"))?;
        options.insert(name.to_owned(), value);
    }
    Ok(options)
}

/// Serves HTTP/1.1 on one thread for ever, after printing the address as the first line of output.
///
/// Accepted sockets have `TCP_NODELAY` set: with Nagle's algorithm a burst of events waits 40 ms for an acknowledgement
/// that the other side delays.
pub fn serve<Answer, Future, ReplyBody>(listen: &str, answer: Answer) -> Result<(), Failure>
where
    Answer: Fn(Request<Incoming>) -> Future + Clone + 'static,
    Future: std::future::Future<Output = Response<ReplyBody>> + 'static,
    ReplyBody: Body + 'static,
    ReplyBody::Data: Send,
    ReplyBody::Error: Into<Failure>,
{
    let address: SocketAddr = listen.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::task::LocalSet::new().run_until(async move {
        let listener = TcpListener::bind(address).await?;
        let mut stdout = std::io::stdout();
        writeln!(stdout, "http://{}", listener.local_addr()?)?;
        stdout.flush()?;
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let reply = answer(request);
                async move { Ok::<_, Infallible>(reply.await) }
            });
            tokio::task::spawn_local(async move {
                let connection =
                    http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), service);
                // A client that leaves in the middle of a stream is how every run ends; nothing is wrong with it.
                drop(connection.await);
            });
        }
    }))
}
