//! `aihub serve` and `aihub check`.

use std::sync::Arc;
use std::time::Duration;

use aihub_analytics::Analytics;
use aihub_gateway::Gateway;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::bookkeeping::Bookkeeping;
use crate::health::Health;
use crate::parts::Parts;
use crate::routes::Routes;
use crate::settings::{Settings, SettingsError};
use crate::stack::{self, Shared};
use crate::{Stop, listen, sinks, store};

/// Serves until SIGTERM or SIGINT, then lets running answers finish and delivers what was recorded.
pub(crate) async fn serve(settings: Settings) -> Result<(), Stop> {
    let parts = Parts::new(&settings).await?;
    let stop = CancellationToken::new();
    // Opened by the process that serves, and by no other: the journal is locked, and so is the file.
    let bookkeeping = Bookkeeping::start(&settings, &parts).await?;
    let shared = Shared::new(&parts, &bookkeeping, &settings);
    let (chat, embed) = (stack::calls(&parts, &shared), stack::calls(&parts, &shared));
    let mut gateway = Gateway::new(chat, embed, Arc::clone(&parts.catalogue), Arc::clone(&parts.clock));
    gateway = gateway.with_departures(parts.departures.clone());
    let default_model = &settings.catalogue.default_model;
    // What is not sold is no default: callers are told to name a model.
    if parts.catalogue.find(default_model).is_some() {
        gateway = gateway.with_default_model(default_model);
    }
    let health = Health {
        keys: Arc::clone(&parts.keys),
        redis: parts.redis.clone(),
        journal: bookkeeping.file(),
        providers: parts.providers.names().len(),
        stop: stop.clone(),
    };
    let analytics = Analytics::new(Arc::clone(&parts.usage), Arc::clone(&parts.standings), Arc::clone(&parts.clock));
    let routes = Routes::new(gateway, analytics, health);
    let app = stack::http(&parts, &settings, routes.open, routes.doors);

    let listener = TcpListener::bind(settings.server.listen).await.map_err(|error| {
        SettingsError(format!(
            "the setting `server.listen` = {} cannot be listened on: {error}",
            settings.server.listen
        ))
    })?;
    let io = |error| Stop::Io { what: "the server could not be started".to_owned(), error };
    let address = listener.local_addr().map_err(io)?;
    tracing::info!(%address, providers = ?parts.providers.names(), models = parts.catalogue.list().len(), "serving");
    if parts.providers.names().is_empty() {
        tracing::warn!("no provider is enabled, so there is nothing to sell: set OPENROUTER_API_KEY or GEMINI_API_KEY");
    }
    // For whoever started this process with port 0 and has to find it.
    println!("aihub is listening on http://{address}");

    let mut terminate = signal(SignalKind::terminate()).map_err(io)?;
    let asked = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        asked.cancel();
    });
    let server = &settings.server;
    let (drain, stalled) = (Duration::from_secs(server.drain_timeout_s), Duration::from_secs(server.write_timeout_s));
    parts.idempotency.forget_until(stop.clone());
    // At the same time: what runs without its caller has no connection that would be waited for.
    let unattended = async {
        stop.cancelled().await;
        parts.idempotency.layer.drain(drain).await;
    };
    let (left, ()) = tokio::join!(listen::serve(listener, app, stop.clone(), drain, stalled), unattended);
    // Answers that run on without their callers have the same time, and are cut like the others after it.
    parts.drains.finish(left).await;
    drop(shared);
    bookkeeping.stop(Duration::from_secs(10)).await;
    Ok(())
}

/// Does what `serve` does before it opens the journal and listens, and says what it found.
pub(crate) async fn check(settings: &Settings) -> Result<(), Stop> {
    let parts = Parts::new(settings).await?;
    if let Some(file) = store::file(settings) {
        aihub_storage::sql::verify(&file).await?;
    }
    sinks::made_but_files(settings, &parts).await?;
    println!("store      {}", parts.store);
    println!("redis      {}", if parts.redis.is_some() { "answers" } else { "none" });
    let sinks: Vec<_> = settings.sinks.keys().map(String::as_str).collect();
    println!("sinks      {}", if sinks.is_empty() { "none".to_owned() } else { sinks.join(", ") });
    println!("plans      {}", parts.plans.names().join(", "));
    println!("providers  {}", parts.providers.names().join(", "));
    println!("models     {}", parts.catalogue.list().len());
    if parts.providers.names().is_empty() {
        println!("There is nothing to sell: set OPENROUTER_API_KEY or GEMINI_API_KEY");
    }
    println!("ok");
    Ok(())
}
