//! What the application says for log lines in Swift's form: policies, and lines of requests that middlewares make. A
//! client's own request has its line further out (`daemon::Observed`).

use daemon::{Notes, Within};
use sync_wrapper::SyncWrapper;
use wire::{Response, headers};

use crate::call::Call;

/// What is to be said when there is an answer.
pub(super) struct Line {
    notes: Option<Notes>,
    own: Option<Within>,
}

/// Begins the line of a request, if such lines are written.
pub(super) fn begin(mut call: Call) -> (Call, Line) {
    let Some(notes) = call.context.notes.clone() else {
        return (call, Line { notes: None, own: None });
    };
    let Some(source) = call.context.source else {
        return (call, Line { notes: Some(notes), own: None });
    };
    let path = call.entity.path();
    let body = call.take_body();
    let (own, body) = notes.within(&call.method, &path, source, body);
    call.body = SyncWrapper::new(body);
    call.context.notes = Some(own.notes().clone());
    (call, Line { notes: Some(own.notes().clone()), own: Some(own) })
}

/// Follows the answer to its end.
pub(super) fn end(line: Line, response: Response) -> Response {
    if let Some(notes) = line.notes {
        let policy = response.headers().get(headers::X_BACKEND_STORAGE_POLICY_INDEX);
        if let Some(policy) = policy.and_then(|policy| policy.to_str().ok()?.parse().ok()) {
            notes.policy(policy);
        }
    }
    match line.own {
        Some(own) => own.follow(response),
        None => response,
    }
}
