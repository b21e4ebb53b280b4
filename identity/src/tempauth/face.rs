//! The HTTP face: who may get a token, in the forms that clients have used over the years.

use super::TempAuth;
use super::users::Known;
use http::header::{ALLOW, HOST, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::percent_decode_str;
use wire::{Request, Response};

/// Why no token is given. One match, [`Refusal::response`], says it in HTTP.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Method,
    NotFound,
    Form,
    Host,
    Lifetime,
    /// Unknown user, wrong key or none: the client is not told which.
    Denied {
        realm: String,
    },
}

/// What a client offers, for a user that may or may not exist.
#[derive(Debug, PartialEq, Eq)]
struct Credentials {
    account: String,
    user: String,
    key: Vec<u8>,
}

pub(super) fn answer(auth: &TempAuth, request: &Request) -> Response {
    token(auth, request).unwrap_or_else(|refusal| refusal.response())
}

fn token(auth: &TempAuth, request: &Request) -> Result<Response, Refusal> {
    let credentials = credentials(request)?;
    let user = authenticate(auth, &credentials)
        .ok_or_else(|| Refusal::Denied { realm: credentials.account.clone() })?;
    let url = storage_url(auth, user, request)?;
    let life = life_seconds(auth, request.headers())?;
    let expires = auth.now_seconds().saturating_add(life);
    let token = auth.signer.issue(user.id, &user.token_key, expires);
    let mut response = daemon::text(StatusCode::OK, "");
    let values = [
        ("x-auth-token", token.clone()),
        ("x-storage-token", token),
        ("x-auth-token-expires", life.to_string()),
        ("x-storage-url", url),
    ];
    for (name, value) in values {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    Ok(response)
}

/// As long as all tokens, or as short as the client wants this one to be.
fn life_seconds(auth: &TempAuth, headers: &HeaderMap) -> Result<u64, Refusal> {
    let Some(wanted) = header(headers, "x-auth-token-lifetime") else {
        return Ok(auth.life_seconds);
    };
    let wanted = std::str::from_utf8(wanted).ok().and_then(|text| text.parse::<u64>().ok());
    let wanted = wanted.filter(|seconds| *seconds > 0).ok_or(Refusal::Lifetime)?;
    Ok(wanted.min(auth.life_seconds))
}

/// Finds the user with that key. An unknown user costs the same as a wrong key.
fn authenticate<'a>(auth: &'a TempAuth, credentials: &Credentials) -> Option<&'a Known> {
    let name = format!("{}:{}", credentials.account, credentials.user);
    let given = auth.signer.fingerprint(&credentials.key);
    let known = auth.users.by_id(&auth.signer.user_id(&name));
    let nobody = auth.signer.fingerprint(b"");
    let expected = known.map_or(&nobody, |known| &known.fingerprint);
    let same = given.is_same(expected);
    known.filter(|_| same)
}

fn credentials(request: &Request) -> Result<Credentials, Refusal> {
    if request.method() != Method::GET {
        return Err(Refusal::Method);
    }
    let path = request.uri().path().strip_prefix("/auth/").ok_or(Refusal::NotFound)?;
    let parts: Vec<&str> = path.splitn(3, '/').collect();
    let headers = request.headers();
    match parts.as_slice() {
        [""] | ["", ..] => Err(Refusal::NotFound),
        ["v1", account, "auth"] => of_account(account, headers),
        ["v1"] | ["v1", ""] | ["v1.0" | "auth", ..] => of_headers(headers),
        _ => Err(Refusal::Form),
    }
}

/// `X-Auth-User: account:user` with `X-Auth-Key`, or the same under the names that start with `X-Storage`.
fn of_headers(headers: &HeaderMap) -> Result<Credentials, Refusal> {
    let denied = || Refusal::Denied { realm: "unknown".to_owned() };
    let user = first(headers, ["x-auth-user", "x-storage-user"]).ok_or_else(denied)?;
    let user = std::str::from_utf8(user).map_err(|_| denied())?;
    let (account, user) = user.split_once(':').ok_or_else(denied)?;
    let key = first(headers, ["x-auth-key", "x-storage-pass"]).unwrap_or_default();
    complete(account, user, key)
}

/// The oldest form, in which the path names the account and `X-Storage-User` only the user.
fn of_account(account: &str, headers: &HeaderMap) -> Result<Credentials, Refusal> {
    let account = percent_decode_str(account).decode_utf8().map_err(|_| Refusal::NotFound)?;
    let denied = || Refusal::Denied { realm: account.to_string() };
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| denied());
    let user = match header(headers, "x-storage-user") {
        Some(user) => text(user)?,
        None => {
            let user = text(header(headers, "x-auth-user").ok_or_else(denied)?)?;
            let (named, user) = user.split_once(':').ok_or_else(denied)?;
            if named != account {
                return Err(denied());
            }
            user
        }
    };
    let key = first(headers, ["x-storage-pass", "x-auth-key"]).unwrap_or_default();
    complete(&account, user, key)
}

fn complete(account: &str, user: &str, key: &[u8]) -> Result<Credentials, Refusal> {
    if account.is_empty() || user.is_empty() || key.is_empty() {
        let realm = if account.is_empty() { "unknown" } else { account };
        return Err(Refusal::Denied { realm: realm.to_owned() });
    }
    Ok(Credentials { account: account.to_owned(), user: user.to_owned(), key: key.to_vec() })
}

/// A header that is there and not empty.
fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    headers.get(name).map(HeaderValue::as_bytes).filter(|value| !value.is_empty())
}

/// The first of two such headers.
fn first<'h>(headers: &'h HeaderMap, [one, other]: [&str; 2]) -> Option<&'h [u8]> {
    header(headers, one).or_else(|| header(headers, other))
}

/// Clients go where this says, so the host in it must be one and nothing more.
fn storage_url(auth: &TempAuth, user: &Known, request: &Request) -> Result<String, Refusal> {
    let forced = auth.url_scheme.forced();
    let mut url = user.url.clone();
    if url.contains("$HOST") {
        let scheme = forced.unwrap_or("http");
        let host = host(request).ok_or(Refusal::Host)?;
        let port = if scheme == "https" { ":443" } else { ":80" };
        let host = host.strip_suffix(port).unwrap_or(&host);
        url = url.replace("$HOST", &format!("{scheme}://{host}"));
    }
    Ok(match (forced, url.split_once("://")) {
        (Some(scheme), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => url,
    })
}

fn host(request: &Request) -> Option<String> {
    let text = match request.headers().get(HOST) {
        Some(host) => host.to_str().ok()?,
        None => request.uri().authority()?.as_str(),
    };
    let authority: Authority = text.parse().ok()?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
    let valid = !authority.host().is_empty() && text.bytes().all(allowed);
    (valid && text == authority.as_str()).then(|| text.to_owned())
}

impl Refusal {
    fn response(&self) -> Response {
        match self {
            Refusal::Method => {
                let sentence = "Tokens are asked for with GET.";
                let mut response = daemon::error_page(StatusCode::METHOD_NOT_ALLOWED, sentence);
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
                response
            }
            Refusal::NotFound => {
                daemon::error_page(StatusCode::NOT_FOUND, "There is nothing at this path.")
            }
            Refusal::Form => daemon::error_page(
                StatusCode::BAD_REQUEST,
                "Tokens are given out at /auth/v1.0, to X-Auth-User and X-Auth-Key.",
            ),
            Refusal::Host => daemon::error_page(
                StatusCode::BAD_REQUEST,
                "The Host header must name this host, and its port if it has one.",
            ),
            Refusal::Lifetime => daemon::error_page(
                StatusCode::BAD_REQUEST,
                "X-Auth-Token-Lifetime must be a number of seconds above zero.",
            ),
            Refusal::Denied { realm } => {
                let sentence = "There is no such user, or the key is another one.";
                let mut response = daemon::error_page(StatusCode::UNAUTHORIZED, sentence);
                let realm = format!("Swift realm=\"{}\"", wire::encode_segment(realm));
                if let Ok(realm) = HeaderValue::try_from(realm) {
                    response.headers_mut().insert(WWW_AUTHENTICATE, realm);
                }
                response
            }
        }
    }
}
