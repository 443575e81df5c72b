//! `leader.step_down`: the manager that leads hands the lead over. Whether a standby is there to take it is not in the
//! log, so the leader looks before it decides.

use muster_events::command::LeaderStepDown;
use muster_events::event::{Event, LeaderSteppingDown};
use muster_events::outcome::Problem;

use crate::state::State;

pub(super) fn decide(state: &State, step_down: &LeaderStepDown) -> Result<Vec<Event>, Problem> {
    let Some(leads) = &state.leader else {
        return Err(Problem::conflict("no manager leads"));
    };
    if let Some(named) = step_down.leader.as_ref().filter(|named| **named != leads.leader) {
        return Err(Problem::conflict(format!("{} leads, not {named}", leads.leader)));
    }
    let (leader, epoch, reason) = (leads.leader.clone(), leads.epoch, step_down.reason.clone());
    Ok(vec![Event::LeaderSteppingDown(LeaderSteppingDown { leader, epoch, reason, forced: step_down.force })])
}

#[cfg(test)]
mod tests {
    use muster_events::command::{Command, LeaderStepDown};
    use muster_events::event::{Event, LeaderElected, LeaderSteppingDown};
    use muster_events::id::NodeName;

    use crate::testing::given;

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn step_down(leader: Option<&str>, reason: Option<&str>, force: bool) -> Command {
        let (leader, reason) = (leader.map(node), reason.map(str::to_owned));
        Command::LeaderStepDown(LeaderStepDown { leader, reason, force })
    }

    #[test]
    fn the_one_that_leads_steps_down_and_the_record_says_why() {
        let elected = Event::LeaderElected(LeaderElected { leader: node("m1"), epoch: 3 });
        let led = || given([]).happened(std::slice::from_ref(&elected));
        let stepping = Event::LeaderSteppingDown(LeaderSteppingDown {
            leader: node("m1"),
            epoch: 3,
            reason: Some("update".into()),
            forced: true,
        });
        led().when(step_down(Some("m1"), Some("update"), true)).then([stepping]);
        led().when(step_down(Some("m2"), None, false)).refused(409, "m1 leads, not m2");
        led().when(step_down(None, Some(&"x".repeat(1001)), false)).refused(400, "reason");
        given([]).when(step_down(None, None, false)).refused(409, "no manager leads");
    }
}
