//! The states of a server (Nova: compute/vm_states.py, compute/task_states.py, and what compute/api.py allows in
//! which of them).
//!
//! A server *is* something (its [`VmState`]) and perhaps something is being *done* to it (its [`Task`]). An
//! action begins a task; the task ends well or badly, and then the server is something else.
//!
//! ```text
//! Building ──spawn──> Active <──> Stopped, Paused, Suspended, Rescued
//!     any task that fails badly ──> Error ──> hard reboot, stop, rescue, delete
//!     anything ──delete──> Deleted
//! ```

/// What a server is while nothing is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VmState {
    /// Not there yet.
    Building,
    /// Runs.
    Active,
    /// Switched off; its disks stay.
    Stopped,
    /// Its processors stand still, its memory stays in memory.
    Paused,
    /// Its memory was written to disk.
    Suspended,
    /// Runs from another image, to be repaired.
    Rescued,
    /// Something failed, and nobody knows what it is.
    Error,
    /// Gone.
    Deleted,
}

/// What is being done to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// A host is looked for, disks and ports are made, the machine is started.
    Spawning,
    /// The guest is asked to shut down, then switched off.
    PoweringOff,
    /// It is switched on.
    PoweringOn,
    /// Its processors are stopped.
    Pausing,
    /// They are started again.
    Unpausing,
    /// Its memory is written to disk.
    Suspending,
    /// It is read again.
    Resuming,
    /// The guest is asked to start anew.
    Rebooting,
    /// It is switched off and on.
    RebootingHard,
    /// It is started from another image.
    Rescuing,
    /// It is started from its own again.
    Unrescuing,
    /// It and what belongs to it are removed.
    Deleting,
}

/// What a user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// `os-stop`
    Stop,
    /// `os-start`
    Start,
    /// `pause`
    Pause,
    /// `unpause`
    Unpause,
    /// `suspend`
    Suspend,
    /// `resume`
    Resume,
    /// `reboot`, type SOFT
    Reboot,
    /// `reboot`, type HARD
    RebootHard,
    /// `rescue`
    Rescue,
    /// `unrescue`
    Unrescue,
    /// `DELETE /servers/…`
    Delete,
}

/// An action that the state does not allow: the API's 409.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{action:?} is not possible while the server is {} ({task:?})", state.status())]
pub struct Conflict {
    /// What was asked for.
    pub action: Action,
    /// What the server is.
    pub state: ServerState,
    /// What is being done to it.
    pub task: Option<Task>,
}

/// The state of a server. There are only those that can come about: it starts by [`ServerState::new`] and changes
/// by the methods here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerState {
    vm: VmState,
    task: Option<Task>,
}

impl ServerState {
    /// A server that was just asked for.
    pub fn new() -> Self {
        ServerState { vm: VmState::Building, task: Some(Task::Spawning) }
    }

    /// What it is.
    pub fn vm(self) -> VmState {
        self.vm
    }

    /// What is being done to it.
    pub fn task(self) -> Option<Task> {
        self.task
    }

    /// Begins what a user asks for. One thing at a time, but deleting always goes, also over a task that
    /// hangs, and a hard reboot over a soft one.
    pub fn begin(self, action: Action) -> Result<Self, Conflict> {
        use VmState::{Active, Error, Paused, Rescued, Stopped, Suspended};
        let (states, task): (&[VmState], Task) = match action {
            Action::Stop => (&[Active, Error], Task::PoweringOff),
            Action::Start => (&[Stopped], Task::PoweringOn),
            Action::Pause => (&[Active], Task::Pausing),
            Action::Unpause => (&[Paused], Task::Unpausing),
            Action::Suspend => (&[Active], Task::Suspending),
            Action::Resume => (&[Suspended], Task::Resuming),
            Action::Reboot => (&[Active], Task::Rebooting),
            Action::RebootHard => {
                (&[Active, Stopped, Paused, Suspended, Error], Task::RebootingHard)
            }
            Action::Rescue => (&[Active, Stopped, Error], Task::Rescuing),
            Action::Unrescue => (&[Rescued], Task::Unrescuing),
            Action::Delete if self.vm != VmState::Deleted => {
                return Ok(ServerState { task: Some(Task::Deleting), ..self });
            }
            Action::Delete => (&[], Task::Deleting),
        };
        let free = match self.task {
            None => true,
            Some(Task::Rebooting) => action == Action::RebootHard,
            Some(_) => false,
        };
        if !free || !states.contains(&self.vm) {
            return Err(Conflict { action, state: self, task: self.task });
        }
        Ok(ServerState { task: Some(task), ..self })
    }

    /// What the server is once its task has ended well. Without a task nothing changes.
    pub fn succeed(self) -> Self {
        let Some(task) = self.task else { return self };
        let vm = match task {
            Task::PoweringOff => VmState::Stopped,
            Task::Pausing => VmState::Paused,
            Task::Suspending => VmState::Suspended,
            Task::Rescuing => VmState::Rescued,
            Task::Deleting => VmState::Deleted,
            Task::Spawning
            | Task::PoweringOn
            | Task::Unpausing
            | Task::Resuming
            | Task::Rebooting
            | Task::RebootingHard
            | Task::Unrescuing => VmState::Active,
        };
        ServerState { vm, task: None }
    }

    /// What the server is once its task has failed. When the hypervisor still has it as it was
    /// (`unharmed`), so is its state; otherwise nobody knows, and that is what `Error` says.
    pub fn fail(self, unharmed: bool) -> Self {
        let vm = match (self.task, unharmed) {
            (None, _) => self.vm,
            // What was never made is in no former state.
            (Some(Task::Spawning), _) | (Some(_), false) => VmState::Error,
            (Some(_), true) if self.vm == VmState::Building => VmState::Error,
            (Some(_), true) => self.vm,
        };
        ServerState { vm, task: None }
    }

    /// The word in the API (Nova: api/openstack/common.py, `status_from_state`).
    pub fn status(self) -> &'static str {
        match (self.vm, self.task) {
            (VmState::Active, Some(Task::Rebooting)) => "REBOOT",
            (_, Some(Task::RebootingHard)) => "HARD_REBOOT",
            (VmState::Building, _) => "BUILD",
            (VmState::Active, _) => "ACTIVE",
            (VmState::Stopped, _) => "SHUTOFF",
            (VmState::Paused, _) => "PAUSED",
            (VmState::Suspended, _) => "SUSPENDED",
            (VmState::Rescued, _) => "RESCUE",
            (VmState::Error, _) => "ERROR",
            (VmState::Deleted, _) => "DELETED",
        }
    }
}

impl Default for ServerState {
    fn default() -> Self {
        ServerState::new()
    }
}

#[cfg(test)]
mod tests;
