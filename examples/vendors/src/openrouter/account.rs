//! What OpenRouter tells about past calls and about the key.

use serde_json::{Value, json};

use super::wire::words;
use crate::{catalogue::Model, mind::Reply};

/// The record of a finished or abandoned call. A stream that was left is billed for what it had sent.
pub(super) fn record(id: &str, model: &Model, reply: &Reply, sent: Option<u64>, cancelled: bool) -> Value {
    let full = reply.usage.completion + reply.usage.reasoning;
    let completion = if cancelled { sent.unwrap_or(full).min(full) } else { full };
    let cost = model.cost(reply.usage.prompt, reply.usage.cached, completion);
    let finish = (!cancelled).then(|| words(reply.finish));
    let mut record = json!({
        "id": id, "created_at": "2026-11-20T12:00:00.000Z", "model": model.id, "provider_name": "OpenAI",
        "app_id": null, "streamed": sent.is_some(), "cancelled": cancelled,
        "finish_reason": finish.map(|words| words.0), "native_finish_reason": finish.map(|words| words.1),
        "total_cost": cost, "usage": cost, "upstream_inference_cost": null, "cache_discount": null, "is_byok": false,
        "request_id": null,
    });
    let counts = json!({
        "tokens_prompt": reply.usage.prompt, "tokens_completion": completion,
        "native_tokens_prompt": reply.usage.prompt, "native_tokens_completion": completion,
        "native_tokens_reasoning": reply.usage.reasoning, "native_tokens_cached": reply.usage.cached,
        "native_tokens_completion_images": null, "num_media_prompt": 0, "num_media_completion": 0,
        "num_input_audio_prompt": 0, "num_search_results": null, "latency": 1, "generation_time": 1,
        "moderation_latency": null, "service_tier": null, "origin": "", "api_type": "completions", "router": null,
        "upstream_id": null, "external_user": null, "http_referer": null, "user_agent": null, "session_id": null,
        "preset_id": null, "provider_responses": null, "web_search_engine": null,
        "num_fetches": 0, "data_region": "global", "response_cache_source_id": null, "workspace_id": null,
    });
    // In two halves for the macro's recursion limit.
    if let (Value::Object(record), Value::Object(counts)) = (&mut record, counts) {
        record.extend(counts);
    }
    record
}

pub(super) fn key() -> Value {
    json!({
        "label": "sk-or-v1-scr...ted", "limit": 100, "limit_remaining": 74.5, "limit_reset": "monthly",
        "include_byok_in_limit": false, "usage": 25.5, "usage_daily": 1.2, "usage_weekly": 6.1, "usage_monthly": 25.5,
        "byok_usage": 0, "byok_usage_daily": 0, "byok_usage_weekly": 0, "byok_usage_monthly": 0, "is_free_tier": false,
        "is_management_key": false, "is_provisioning_key": false, "creator_user_id": null, "organization_id": null,
        "workspace_id": null, "budgets": [], "effective_budget": null, "allowed_data_regions": ["global"], "expires_at": null,
        "free_model_daily_requests": {"used": 0, "limit": 1000, "remaining": 1000},
        "rate_limit": {"requests": -1, "interval": "10s", "note": "deprecated"},
    })
}
