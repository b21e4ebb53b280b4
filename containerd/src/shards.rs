//! The verbs of a container's table of shard ranges, which requests ask for with `X-Backend-Record-Type: shard`.
//!
//! Swift: container/server.py, `PUT_shard`, `GET_shard`, `_redirect_to_shard`. A table can be there while the container is
//! not sharded, and here no container ever is, for there is no sharder. So `X-Backend-Record-Type: auto`, which asks for
//! ranges of sharded containers, always gives objects; and what overrides filters in sharded containers overrides nothing.

use crate::server::{Asked, Server};
use crate::shard_json::{self, Shown};
use crate::{container, info};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use listing::render::Format;
use listing::shards::{PutShards, PutShardsOutcome, RANGES_MAX, ShardQuery, ShardRange};
use listing::{Entity, ObjectRow, Refusal, Row, answer, lifecycle, request};
use std::sync::Arc;
use types::{ObjectName, Timestamp};
use wire::{Body, Response, encode_segment, headers, parse_query};

/// Whether a request is about shard ranges.
pub(crate) fn are_asked(from: &HeaderMap) -> bool {
    from.get("x-backend-record-type").is_some_and(|kind| is(kind, "shard"))
}

fn is(value: &HeaderValue, word: &str) -> bool {
    value.as_bytes().eq_ignore_ascii_case(word.as_bytes())
}

/// Merges ranges and metadata: 202, or 201 when the container came into being with them; 404 when there is none. The
/// container's own timestamps stay as they are, and a deleted one stays deleted.
pub(crate) async fn put(server: &Server, asked: Asked, body: Body) -> Result<Response, Refusal> {
    let from = &asked.parts.headers;
    let at = request::timestamp(from)?;
    let policy = server.policy(from, headers::X_BACKEND_STORAGE_POLICY_INDEX)?;
    let metadata = container::metadata(&asked, at)?;
    let database = server.database(&asked)?;
    database.check_room().await?;
    let ranges = shard_json::read(server, body).await?;
    let creates = asked.auto_creates();
    let created_at = Timestamp { offset: 0, ..at };
    let create = policy
        .filter(|_| creates)
        .map(|policy| lifecycle::create(&asked.names, created_at, server.clock.now(), policy));
    let change = PutShards { ranges, metadata, create };
    let (hash, limits) = (asked.hash, Arc::clone(&server.limits));
    let put = database.write(move |transaction| transaction.put_shards(&hash, &change, &limits));
    match put.await? {
        PutShardsOutcome::Stored { entity, created } => {
            let status = if created { StatusCode::CREATED } else { StatusCode::ACCEPTED };
            Ok(answer::bare(status, container::policy_header(entity.policy)))
        }
        PutShardsOutcome::NotFound if creates => {
            Err(Refusal::Invalid("X-Backend-Storage-Policy-Index header is required".to_owned()))
        }
        PutShardsOutcome::NotFound => Ok(answer::not_found(HeaderMap::new())),
        PutShardsOutcome::TooMany => Err(Refusal::TooLarge(format!(
            "The container would have too many shard ranges; max {RANGES_MAX}"
        ))),
        PutShardsOutcome::Metadata(error) => Err(error.into()),
    }
}

/// What a GET asks for.
struct Wanted {
    query: ShardQuery,
    format: Format,
    shown: Shown,
    /// Of a deleted container, too.
    of_deleted: bool,
    /// Why there is no answer; said only if there is something to choose from.
    refusal: Option<Refusal>,
}

impl Wanted {
    fn read(server: &Server, asked: &Asked) -> Result<Self, Refusal> {
        let limit_max = server.limits.container_listing_limit;
        let (page, format) = request::listing(&asked.parts, limit_max)?;
        let from = &asked.parts.headers;
        let flag = |name| request::flag(from, name).unwrap_or(false);
        let mut query = ShardQuery {
            marker: page.marker,
            end_marker: page.end_marker,
            reverse: page.reverse,
            deleted: flag("x-backend-include-deleted"),
            ..ShardQuery::default()
        };
        let mut states = Ok(());
        for (name, value) in parse_query(asked.parts.uri.query())? {
            match name.as_str() {
                "includes" => query.includes = value,
                "states" => states = query.restrict(&value),
                _ => {}
            }
        }
        let namespace = from.get("x-backend-record-shard-format");
        let namespace = namespace.is_some_and(|format| is(format, "namespace"));
        let shown = if namespace { Shown::Namespace } else { Shown::Full };
        let refusal = match states {
            Err(error) => Some(error.to_string()),
            Ok(()) => cannot_show(&query, format, shown).map(str::to_owned),
        };
        Ok(Wanted {
            query,
            format,
            shown,
            of_deleted: flag("x-backend-override-deleted"),
            refusal: refusal.map(Refusal::Invalid),
        })
    }
}

/// What a form has no room for.
fn cannot_show(query: &ShardQuery, format: Format, shown: Shown) -> Option<&'static str> {
    let namespace = shown == Shown::Namespace;
    match format {
        _ if namespace && query.deleted => Some("No include_deleted for namespace GET"),
        _ if namespace && query.own => Some("No auditing state for namespace GET"),
        Format::Xml | Format::TextXml => {
            Some("Shard ranges are listed as JSON or plain text, not as XML")
        }
        Format::Json | Format::Plain => None,
    }
}

/// The ranges asked for: 200, 204 when there are none for plain text, or 404.
pub(crate) async fn get(server: &Server, asked: Asked) -> Result<Response, Refusal> {
    let wanted = Wanted::read(server, &asked)?;
    let (format, shown) = (wanted.format, wanted.shown);
    let (hash, own, now) = (asked.hash, asked.names.path(), server.clock.now());
    let read = server.database(&asked)?.read(move |view| {
        let entity = match view.entity(&hash)? {
            Some(entity) if wanted.of_deleted || !ObjectRow::is_deleted(&entity) => entity,
            other => return Ok(Found::Deleted(other)),
        };
        if let Some(refusal) = wanted.refusal {
            return Ok(Found::Refused(refusal));
        }
        let ranges = wanted.query.choose(view.shard_ranges(&hash)?, &own, now);
        Ok(Found::Page(entity, page(ranges, format, shown)))
    });
    match read.await? {
        Found::Deleted(entity) => Ok(answer::not_found(info::backend(entity.as_ref()))),
        Found::Refused(refusal) => Err(refusal),
        Found::Page(entity, page) => {
            let mut headers = info::living(&entity);
            answer::set(&mut headers, "x-backend-record-type", "shard");
            answer::set(&mut headers, "x-backend-record-shard-format", shown.name());
            Ok(answer::page(headers, format, page))
        }
    }
}

/// What a GET finds.
enum Found {
    Deleted(Option<Entity>),
    Refused(Refusal),
    Page(Entity, Vec<u8>),
}

fn page(ranges: Vec<ShardRange>, format: Format, shown: Shown) -> Vec<u8> {
    match format {
        Format::Json => shown.json(ranges),
        _ => ranges.into_iter().flat_map(|range| (range.name + "\n").into_bytes()).collect(),
    }
}

/// Where the row of an object belongs, if that is not here, and if its sender is willing to go there: 301.
pub(crate) async fn redirect(
    server: &Server,
    asked: &Asked,
    object: &ObjectName,
) -> Result<Option<Response>, Refusal> {
    let flag = |name| request::flag(&asked.parts.headers, name).unwrap_or(false);
    if !flag("x-backend-accept-redirect") {
        return Ok(None);
    }
    let (hash, now) = (asked.hash, server.clock.now());
    let (own, query) = (asked.names.path(), ShardQuery::to_update(object.as_str()));
    let choose = server
        .database(asked)?
        .read(move |view| Ok(query.choose(view.shard_ranges(&hash)?, &own, now).pop()));
    let Some(range) = choose.await? else { return Ok(None) };
    let location = format!("/{}/{object}", range.name);
    let quoted = encode_segment(&location);
    // Who cannot read it keeps the row here.
    if quoted != location && !flag("x-backend-accept-quoted-location") {
        return Ok(None);
    }
    let mut headers = HeaderMap::new();
    answer::set(&mut headers, header::LOCATION.as_str(), &quoted);
    answer::set(&mut headers, "x-backend-location-is-quoted", "true");
    answer::set(&mut headers, "x-backend-redirect-timestamp", &range.extent.at.internal());
    Ok(Some(answer::bare(StatusCode::MOVED_PERMANENTLY, headers)))
}
