//! `usbmux-sim ram`: what the firmware does with a board's RAM.

use crate::failure::Failure;
use crate::show::print;
use usbmux_dongle::budget::{Plan, STACK_HIGH_WATER, STACK_MARGIN};
use usbmux_firmware_sim::firmware::RamPlan;

/// The plan for a board with so much RAM.
pub(crate) fn plan(kib: u32) -> Result<RamPlan, Failure> {
    RamPlan::for_ram(u64::from(kib) * 1024).ok_or_else(|| {
        let [smallest, ..] = RamPlan::ALL;
        let needs = smallest.plan().budget.total();
        Failure::failed(format!(
            "{kib} KiB are too little: the smallest dongle takes {needs} bytes; say --ram {}",
            needs.div_ceil(1024)
        ))
    })
}

pub(crate) fn run(kib: Option<u32>) -> Result<(), Failure> {
    let plans = match kib {
        Some(kib) => vec![plan(kib)?],
        None => RamPlan::ALL.to_vec(),
    };
    let plans: Vec<&Plan> = plans.into_iter().map(RamPlan::plan).collect();
    print(&table(&plans))
}

const NAME: usize = 30;
const COLUMN: usize = 12;

fn table(plans: &[&Plan]) -> Vec<String> {
    let row = |name: &str, cell: &dyn Fn(&Plan) -> String| {
        let cells = plans.iter().map(|plan| format!("{:>COLUMN$}", cell(plan)));
        format!("{name:<NAME$}{}", cells.collect::<String>())
    };
    let word = |there: bool| if there { "yes" } else { "no" }.to_owned();
    let mut lines = vec![
        row("board's RAM", &|plan| format!("{} KiB", plan.ram / 1024)),
        String::new(),
        row("connections at once", &|plan| plan.connections.to_string()),
        row("forwards", &|plan| plan.forwards.to_string()),
        row("status page", &|plan| word(plan.has_page)),
        row("pair records of phones", &|plan| plan.phones.to_string()),
        String::new(),
    ];
    if let Some(first) = plans.first() {
        for (index, (name, _)) in first.budget.rows().iter().enumerate() {
            lines.push(row(name, &|plan| {
                plan.budget.rows().get(index).map_or(0, |(_, bytes)| *bytes).to_string()
            }));
        }
    }
    lines.push(row("all together, bytes", &|plan| plan.budget.total().to_string()));
    lines.push(row("left over", &|plan| (plan.ram - plan.budget.total()).to_string()));
    lines.push(String::new());
    for plan in plans {
        for (name, bytes) in plan.left_out {
            let kib = plan.ram / 1024;
            lines.push(format!("Left out with {kib} KiB: {name}, {bytes} bytes more."));
        }
    }
    lines.extend([
        format!("Stack: {STACK_HIGH_WATER} bytes of high-water, {STACK_MARGIN} of margin. Measured where the image for the"),
        "i.MX6UL serves real clients (tests/dongle-qemu/run), not on this machine.".to_owned(),
        format!("The rest: counted on this machine, with pointers of {} bits; a microcontroller's have 32,", usize::BITS),
        "and it takes less.".to_owned(),
    ]);
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_table_adds_up_and_says_what_is_left_out() {
        let plans: Vec<&Plan> = RamPlan::ALL.into_iter().map(RamPlan::plan).collect();
        let lines = table(&plans);
        assert!(lines.iter().all(|line| line.chars().count() <= 100), "{lines:#?}");
        let number = |line: &String| -> Vec<u64> {
            line.get(NAME..)
                .unwrap_or("")
                .split_whitespace()
                .filter_map(|n| n.parse().ok())
                .collect()
        };
        let from = lines.iter().position(|line| line.starts_with("payload")).unwrap();
        let to = lines.iter().position(|line| line.starts_with("all together")).unwrap();
        for column in 0..3 {
            let sum: u64 = lines[from..to].iter().map(|line| number(line)[column]).sum();
            assert_eq!(sum, number(&lines[to])[column]);
        }
        assert!(lines.iter().any(|line| line.starts_with("Left out with 32 KiB: status page")));
        assert!(
            lines
                .iter()
                .any(|line| line.contains(&format!("{STACK_HIGH_WATER} bytes of high-water")))
        );
        assert!(plan(1).is_err());
    }
}
