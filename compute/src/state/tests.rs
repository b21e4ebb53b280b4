//! Every state that can be reached, and what holds of all of them.

use super::*;
use std::collections::HashSet;

const ACTIONS: [Action; 11] = [
    Action::Stop,
    Action::Start,
    Action::Pause,
    Action::Unpause,
    Action::Suspend,
    Action::Resume,
    Action::Reboot,
    Action::RebootHard,
    Action::Rescue,
    Action::Unrescue,
    Action::Delete,
];

fn next(state: ServerState) -> Vec<ServerState> {
    let begun = ACTIONS.iter().filter_map(|action| state.begin(*action).ok());
    begun.chain([state.succeed(), state.fail(true), state.fail(false)]).collect()
}

fn reachable() -> HashSet<ServerState> {
    let mut seen = HashSet::from([ServerState::new()]);
    let mut todo = vec![ServerState::new()];
    while let Some(state) = todo.pop() {
        todo.extend(next(state).into_iter().filter(|state| seen.insert(*state)));
    }
    seen
}

fn state(vm: VmState, task: Option<Task>) -> ServerState {
    ServerState { vm, task }
}

#[test]
fn a_life() {
    let active = ServerState::new().succeed();
    assert_eq!((active.vm(), active.task(), active.status()), (VmState::Active, None, "ACTIVE"));
    let stopping = active.begin(Action::Stop).expect("possible");
    assert_eq!((stopping.task(), stopping.status()), (Some(Task::PoweringOff), "ACTIVE"));
    let stopped = stopping.succeed();
    assert_eq!(stopped.status(), "SHUTOFF");
    let conflict = stopped.begin(Action::Pause).expect_err("not possible");
    assert_eq!(conflict.to_string(), "Pause is not possible while the server is SHUTOFF (None)");
    let gone = stopped.begin(Action::Delete).expect("possible").succeed();
    assert_eq!((gone.vm(), gone.status()), (VmState::Deleted, "DELETED"));
}

#[test]
fn one_thing_at_a_time() {
    let rebooting = state(VmState::Active, Some(Task::Rebooting));
    for action in ACTIONS {
        let possible = rebooting.begin(action).is_ok();
        assert_eq!(possible, [Action::RebootHard, Action::Delete].contains(&action), "{action:?}");
    }
    assert_eq!(rebooting.status(), "REBOOT");
    let hard = rebooting.begin(Action::RebootHard).expect("possible");
    assert_eq!(hard.status(), "HARD_REBOOT");
    assert!(hard.begin(Action::Reboot).is_err());
}

#[test]
fn a_failure_harms_only_when_it_did() {
    let pausing = state(VmState::Active, Some(Task::Pausing));
    assert_eq!(pausing.fail(true), state(VmState::Active, None));
    assert_eq!(pausing.fail(false), state(VmState::Error, None));
    assert_eq!(ServerState::new().fail(true), state(VmState::Error, None));
    let idle = state(VmState::Paused, None);
    assert_eq!((idle.fail(false), idle.succeed()), (idle, idle));
}

#[test]
fn all_that_can_be_reached_makes_sense() {
    let states = reachable();
    for state in &states {
        // Nothing is stuck: a task can end, and everything but what is gone can be deleted.
        assert_eq!(state.succeed().task(), None);
        assert_eq!(state.begin(Action::Delete).is_ok(), state.vm() != VmState::Deleted);
        // What is not made yet is always being made or removed, and what is gone stays so.
        match state.vm() {
            VmState::Building => {
                assert!(matches!(state.task(), Some(Task::Spawning | Task::Deleting)), "{state:?}");
            }
            VmState::Deleted => assert_eq!(next(*state), vec![*state; 3]),
            _ => {}
        }
    }
    let idle = states.iter().filter(|state| state.task().is_none()).count();
    assert_eq!(idle, 7, "every state but Building is reached and rested in");
}
