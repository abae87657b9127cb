//! What an open stream costs in memory, and how long a start takes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::load::chat;
use super::measure::{resident, settle};
use crate::process::{Running, now};
use crate::{Result, probe};

/// How many streams are open at the same time.
pub(crate) const OPEN: usize = 500;

/// Slow enough that all streams are open and running while memory is read: fifty events take about fifteen seconds.
const PACE_MS: u32 = 300;

/// Streams that go before, so that what is set up once per process is not counted as the cost of a stream.
const WARM_UP: usize = 20;

/// Growth of the server's resident memory per open stream, in bytes.
///
/// The process must be new: after a heavier load its allocator would give the streams memory it had kept, and the growth
/// would be too small to be true.
pub(crate) fn memory(pid: u32, port: u16, key: &str, model: &str) -> Result<f64> {
    end_all(open_all(WARM_UP, port, key, model, 1)?)?;
    settle(pid)?;
    let before = resident(pid)?;
    let sockets = open_all(OPEN, port, key, model, PACE_MS)?;
    let after = resident(pid)?;
    end_all(sockets)?;
    #[expect(clippy::cast_precision_loss, reason = "memory of a benchmark stays far below 2^52 bytes")]
    Ok((after as f64 - before as f64) / OPEN as f64)
}

/// Opens so many streams and waits until each has brought its first event.
fn open_all(count: usize, port: u16, key: &str, model: &str, pace_ms: u32) -> Result<Vec<TcpStream>> {
    let body = chat(model, &format!("Count to fifty. pace-ms={pace_ms}"), true);
    let request = probe::request("POST", "/v1/chat/completions", Some(key), &body);
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        socket.write_all(request.as_bytes())?;
        sockets.push(socket);
    }
    for socket in &mut sockets {
        let mut head = [0; 4096];
        let mut length = 0;
        while !head[..length].windows(5).any(|window| window == b"data:") {
            let count = socket.read(&mut head[length..])?;
            if count == 0 {
                return Err(format!("a stream did not start: {}", String::from_utf8_lossy(&head[..length])).into());
            }
            length += count;
        }
    }
    Ok(sockets)
}

/// Reads every stream to its end, which must be the end mark.
fn end_all(sockets: Vec<TcpStream>) -> Result {
    for mut socket in sockets {
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest)?;
        let text = String::from_utf8_lossy(&rest);
        if !text.contains("data: [DONE]") {
            let tail = String::from_utf8_lossy(&rest[rest.len().saturating_sub(300)..]);
            return Err(format!("a stream was cut short; its end: {tail}").into());
        }
        // The other side may have closed it already.
        drop(socket.shutdown(Shutdown::Both));
    }
    Ok(())
}

/// Milliseconds from the start of the process to the end of the first answered chat call.
pub(crate) fn first_answer(launch: impl Fn() -> Result<Running>, port: u16, key: &str, model: &str) -> Result<f64> {
    let request = probe::request("POST", "/v1/chat/completions", Some(key), &chat(model, "Hello", false));
    let start = now();
    let mut running = launch()?;
    running.until(Duration::from_mins(1), Duration::from_millis(1), || {
        probe::ask(port, &request).is_ok_and(|(status, _)| status == 200)
    })?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}
