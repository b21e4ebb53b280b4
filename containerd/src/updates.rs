//! The verb UPDATES: which containers owe their account a report, and that it was delivered.

use crate::server::Server;
use http::{HeaderValue, StatusCode, header};
use listing::{Entity, Refusal};
use wire::{
    Body, PendingReport, PendingReports, REPORTS_MAX, ReportedAck, Request, Response, parse_query,
};

const LIMIT_DEFAULT: u32 = 1000;
const BODY_BYTES_MAX: usize = 1 << 20;

/// A page of a device's queue, or (with `?ack`) the acknowledgement of a part of it.
pub(crate) async fn answer(server: &Server, request: Request) -> Result<Response, Refusal> {
    let device = request.uri().path().trim_matches('/').to_owned();
    let database = server.devices.get(&device)?;
    let parameters = parse_query(request.uri().query())?;
    if parameters.iter().any(|(name, _)| name == "ack") {
        let body = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await;
        let body = body.map_err(|error| Refusal::Invalid(format!("Invalid body: {error}")))?;
        let ack: ReportedAck = serde_json::from_slice(&body)
            .map_err(|error| Refusal::Invalid(format!("Invalid body: {error}")))?;
        if ack.tokens.len() > REPORTS_MAX as usize {
            return Err(Refusal::Limit(REPORTS_MAX));
        }
        database.acknowledge(ack.tokens).await?;
        return Ok(daemon::empty(StatusCode::NO_CONTENT));
    }
    let limit = parameters.iter().find(|(name, _)| name == "limit");
    let limit = match limit.map(|(_, value)| value.parse()) {
        None => LIMIT_DEFAULT,
        Some(Ok(limit)) if limit <= REPORTS_MAX => limit,
        Some(_) => return Err(Refusal::Limit(REPORTS_MAX)),
    };
    let marker = parameters.iter().find(|(name, _)| name == "marker");
    let after = match marker.map(|(_, value)| value.parse()) {
        None => 0,
        Some(Ok(token)) => token,
        Some(Err(_)) => return Err(Refusal::Invalid("Invalid marker: a token is expected".into())),
    };
    let pending = database.pending(after, limit as usize).await?;
    let reports = pending.iter().map(|(token, entity)| report(*token, entity)).collect();
    // Texts and numbers into memory: there is nothing that could fail.
    let body = serde_json::to_vec(&PendingReports { reports }).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

fn report(token: u64, entity: &Entity) -> PendingReport {
    let report = entity.report();
    PendingReport {
        token,
        account: entity.account.clone(),
        container: entity.container.clone(),
        put_timestamp: report.put_timestamp.internal(),
        delete_timestamp: report.delete_timestamp.internal(),
        object_count: report.objects,
        bytes_used: report.bytes,
        policy: entity.policy.0,
    }
}
