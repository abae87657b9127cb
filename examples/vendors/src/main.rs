//! The scripted vendors as a program: prints where they are as one line of JSON and runs until it is told to stop
//! (interrupt, terminate) or its standard input closes, which is how a parent that died stops it.

use std::{io, net::SocketAddr};

use aihub_vendors::{GEMINI_KEY, OPENROUTER_KEY, STRIPE_KEY, Vendors};
use clap::Parser;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

#[derive(Debug, Parser)]
#[command(about = "OpenRouter, Gemini and Stripe's meters, played from a script on loopback")]
struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let vendors = Vendors::listen(arguments.listen)?;
    let places = serde_json::json!({
        "openrouter_base_url": vendors.openrouter_base_url(), "openrouter_api_key": OPENROUTER_KEY,
        "gemini_base_url": vendors.gemini_base_url(), "gemini_api_key": GEMINI_KEY,
        "stripe_base_url": vendors.stripe_base_url(), "stripe_api_key": STRIPE_KEY,
        "vendors_url": vendors.url(),
    });
    println!("{places}");
    let mut terminate = signal(SignalKind::terminate())?;
    let (close, closed) = oneshot::channel();
    // A read of standard input cannot be cancelled: a thread of its own is simply left behind.
    std::thread::spawn(move || {
        let _broken_is_closed = io::copy(&mut io::stdin(), &mut io::sink());
        let _nobody_waits = close.send(());
    });
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
        _closed = closed => {}
    }
    drop(vendors);
    Ok(())
}
