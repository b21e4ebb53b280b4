use super::*;
use crate::container_row::ContainerRow;
use crate::metadata::MetadataValue;
use crate::object_row::ObjectRow;
use crate::row::Totals;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn request(seconds: u64, policy: Option<u32>) -> Put {
    Put {
        at: at(seconds),
        now: at(1000),
        policy: policy.map(PolicyIndex),
        default_policy: PolicyIndex(7),
        metadata: Metadata::default(),
    }
}

fn names() -> Names {
    Names { account: "a".into(), container: "c".into() }
}

fn put_container(existing: Option<Entity>, seconds: u64, policy: Option<u32>) -> PutOutcome {
    put::<ObjectRow>(existing, &names(), &request(seconds, policy), &Limits::default())
}

fn stored(outcome: PutOutcome) -> (Entity, bool) {
    match outcome {
        PutOutcome::Stored { entity, created } => (*entity, created),
        other => panic!("{other:?}"),
    }
}

fn deleted(existing: Entity, seconds: u64) -> Entity {
    match delete::<ObjectRow>(Some(existing), at(seconds)) {
        DeleteOutcome::Stored { entity, deleted: true, .. } => *entity,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_container_is_created_refreshed_deleted_and_created_again() {
    let (entity, created) = stored(put_container(None, 10, None));
    assert!(created);
    assert_eq!((entity.policy, entity.created_at), (PolicyIndex(7), at(1000)));
    assert_eq!(
        put_container(Some(entity.clone()), 11, Some(1)),
        PutOutcome::OtherPolicy(PolicyIndex(7))
    );
    let (entity, created) = stored(put_container(Some(entity), 11, Some(7)));
    assert!(!created);
    assert_eq!((entity.put_timestamp, entity.status_changed_at), (at(11), at(10)));
    let gone = deleted(entity, 12);
    assert_eq!(put_container(Some(gone.clone()), 11, Some(1)), PutOutcome::DeletedSince);
    let (entity, created) = stored(put_container(Some(gone), 13, Some(1)));
    assert!(created);
    assert_eq!((entity.policy, entity.status_changed_at), (PolicyIndex(1), at(13)));
}

#[test]
fn a_container_with_objects_in_any_policy_is_not_deleted() {
    let (mut entity, _) = stored(put_container(None, 10, None));
    entity.totals.insert(PolicyIndex(3), Totals { rows: 1, objects: 1, bytes: 0 });
    assert_eq!(delete::<ObjectRow>(Some(entity), at(11)), DeleteOutcome::NotEmpty);
}

#[test]
fn an_older_deletion_is_remembered_but_changes_nothing() {
    let (entity, _) = stored(put_container(None, 10, None));
    let outcome = delete::<ObjectRow>(Some(entity), at(9));
    let DeleteOutcome::Stored { entity, existed: true, deleted: false } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(entity.delete_timestamp, at(9));
    assert_eq!(delete::<ObjectRow>(None, at(9)), DeleteOutcome::NotFound(None));
}

#[test]
fn a_deleted_account_stays_so() {
    let put_account =
        |existing| put::<ContainerRow>(existing, &names(), &request(10, None), &Limits::default());
    let (mut entity, _) = stored(put_account(None));
    entity.totals.insert(PolicyIndex(0), Totals { rows: 1, objects: 1, bytes: 0 });
    let outcome = delete::<ContainerRow>(Some(entity), at(11));
    let DeleteOutcome::Stored { entity, existed: true, deleted: true } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(put_account(Some(*entity.clone())), PutOutcome::RecentlyDeleted);
    let again = delete::<ContainerRow>(Some(*entity.clone()), at(12));
    assert_eq!(again, DeleteOutcome::NotFound(Some(entity)));
}

#[test]
fn metadata_is_judged_before_anything_is_stored() {
    let value = MetadataValue { value: "x".repeat(5000), at: at(10) };
    let metadata = Metadata([("X-Container-Meta-A".to_owned(), value)].into());
    let refused = Put { metadata: metadata.clone(), ..request(10, None) };
    let outcome = put::<ObjectRow>(None, &names(), &refused, &Limits::default());
    assert_eq!(outcome, PutOutcome::Metadata(MetadataError::TooLarge(4096)));
    let (entity, _) = stored(put_container(None, 10, None));
    let change = Post { touch: Some(at(12)), metadata };
    let outcome = post::<ObjectRow>(Some(entity.clone()), &change, &Limits::default());
    assert_eq!(outcome, PostOutcome::Metadata(MetadataError::TooLarge(4096)));
    let touched = Post { touch: Some(at(12)), metadata: Metadata::default() };
    let outcome = post::<ObjectRow>(Some(entity), &touched, &Limits::default());
    assert!(matches!(outcome, PostOutcome::Stored(entity) if entity.put_timestamp == at(12)));
}

#[test]
fn removed_metadata_does_not_pile_up() {
    let limits = Limits { max_meta_count: 2, ..Limits::default() };
    let (mut entity, _) = stored(put_container(None, 10, None));
    let mut change = |name: String, value: &str, seconds: u64| {
        let value = MetadataValue { value: value.to_owned(), at: at(seconds) };
        let metadata = Metadata([(name, value)].into());
        let outcome =
            post::<ObjectRow>(Some(entity.clone()), &Post { touch: None, metadata }, &limits);
        let PostOutcome::Stored(changed) = outcome else { panic!("{outcome:?}") };
        entity = *changed;
        entity.metadata.0.len()
    };
    for n in 0..100 {
        assert_eq!(change(format!("X-Container-Meta-Never-{n}"), "", 20), 0);
    }
    for n in 0..100 {
        change(format!("X-Container-Meta-{n}"), "1", 30 + 2 * n);
        assert!(change(format!("X-Container-Meta-{n}"), "", 31 + 2 * n) <= 8);
    }
    assert!(entity.metadata.0.contains_key("X-Container-Meta-99"), "the newest is remembered");
}
