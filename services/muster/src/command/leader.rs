//! `muster leader`: which manager leads and which stand by; and the hand-over from one to the other.

use muster_client::Leadership;
use muster_events::command::LeaderStepDown;
use muster_events::id::NodeName;
use muster_events::time::Timestamp;

use crate::command::{Context, Outcome};
use crate::exit;
use crate::units::{ago, grouped, now};

/// Arguments of `leader`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Have the leader hand over to a standby, before its machine is updated for instance; returns when the next one leads
    StepDown(StepDown),
}

#[derive(Debug, clap::Args)]
struct StepDown {
    /// Only if this one leads [default: whoever leads now]
    node: Option<NodeName>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Also when no standby is there to take over
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    match args.command {
        None => show(context).await,
        Some(Command::StepDown(step_down)) => self::step_down(step_down, context).await,
    }
}

async fn show(context: &Context) -> Outcome {
    let leadership = context.manager()?.leader().await?;
    if context.out.json {
        context.out.json(&leadership)?;
        return Ok(exit::OK);
    }
    for (name, value) in lines(&leadership) {
        context.out.line(format!("{name:<12} {value}"))?;
    }
    let rows: Vec<_> = leadership.standbys.iter().map(row).collect();
    if !rows.is_empty() {
        context.out.line("")?;
        context.out.table(&["STANDBY", "STATE", "POSITION", "BEHIND", "HEARD"], &rows)?;
    }
    Ok(exit::OK)
}

fn lines(leadership: &Leadership) -> Vec<(&'static str, String)> {
    let Some(leader) = &leadership.leader else {
        return vec![("leader", "none yet".to_owned())];
    };
    if !leadership.answers {
        let why = leadership.message.clone().unwrap_or_default();
        return vec![
            ("leader", format!("{leader} led last and does not answer ({why})")),
            ("epoch", grouped(leadership.epoch)),
            ("", "a standby leads as soon as the lease has run out; commands are stored and wait".to_owned()),
        ];
    }
    let since = leadership.since.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
    let mut lines = vec![("leader", leader.clone()), ("epoch", grouped(leadership.epoch))];
    lines.extend(since.map(|since| ("since", format!("{since} ({})", ago(now(), since)))));
    lines.extend(leadership.lease_s.map(|s| ("lease", format!("{s} s"))));
    lines.extend(leadership.position.map(|position| ("position", grouped(position))));
    if leadership.standbys.is_empty() {
        lines.push((
            "standbys",
            "none: should the leader end, commands wait until a manager is started".to_owned(),
        ));
    }
    lines
}

fn row(standby: &muster_client::Standby) -> Vec<String> {
    vec![
        standby.node.clone(),
        if standby.ready { "ready" } else { "folding" }.to_owned(),
        grouped(standby.position),
        grouped(standby.behind),
        format!("{:.1} s ago", standby.heard_s),
    ]
}

async fn step_down(args: StepDown, context: &Context) -> Outcome {
    let manager = context.manager()?;
    // Whoever leads now is named, so that a command that comes late does not end the next one's lead.
    let leader = match args.node {
        Some(node) => Some(node),
        None => manager.leader().await?.leader.and_then(|name| NodeName::new(&name).ok()),
    };
    let asked = LeaderStepDown { leader, reason: args.reason, force: args.force };
    let handed = manager.step_down(&asked).await?.value;
    if context.out.json {
        context.out.json(&handed)?;
        return Ok(exit::OK);
    }
    let took = handed.took_ms.map_or_else(String::new, |ms| format!(", {ms:.0} ms later"));
    context.out.line(if handed.leader == handed.former {
        format!("{} leads again{took}: nobody else has taken over", handed.leader)
    } else {
        format!("{} has stepped down; {} leads{took}", handed.former, handed.leader)
    })?;
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_is_silent_is_told_from_one_that_leads() {
        let mut leadership = Leadership { leader: Some("m-1".into()), epoch: 2, ..Leadership::default() };
        leadership.message = Some("no manager leads at the moment".into());
        let text = |l: &Leadership| lines(l).into_iter().map(|(_, v)| v).collect::<Vec<_>>().join("\n");
        assert!(
            text(&leadership).contains("m-1 led last and does not answer (no manager leads"),
            "{leadership:?}"
        );
        leadership.answers = true;
        leadership.lease_s = Some(3.0);
        let alone = text(&leadership);
        assert!(alone.starts_with("m-1\n2\n3 s\n") && alone.contains("none: should"), "{alone}");
        leadership.standbys = vec![muster_client::Standby { node: "m-2".into(), ..Default::default() }];
        assert!(!text(&leadership).contains("none"));
        assert_eq!(row(&leadership.standbys[0])[1], "folding");
        assert_eq!(text(&Leadership::default()), "none yet");
    }
}
