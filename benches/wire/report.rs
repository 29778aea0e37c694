//! The table of medians and ratios, and all runs as JSON.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::case::{Case, Work};
use crate::contestant::Sample;
use crate::{Arguments, Outcome};

/// All runs so far.
pub(crate) struct Report {
    runs: usize,
    seconds: u32,
    /// By case in the order of the first run, and by contestant.
    samples: Vec<(String, BTreeMap<&'static str, Vec<Sample>>)>,
}

impl Report {
    pub(crate) fn new(arguments: &Arguments) -> Self {
        println!("{}", machine());
        println!("Medians of {} runs of {} s.", arguments.runs, arguments.seconds);
        println!();
        println!(
            "| case | unit | ours | usrsctp | bare | ours / usrsctp | ours / bare | packets/s | CPU s/GB, client + server \
             | others' |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|");
        Self { runs: arguments.runs, seconds: arguments.seconds, samples: Vec::new() }
    }

    pub(crate) fn add(&mut self, case: &Case, contestant: &'static str, sample: Sample) {
        let name = case.to_string();
        if self.samples.last().is_none_or(|(last, _)| *last != name) {
            self.samples.push((name, BTreeMap::new()));
        }
        if let Some((_, samples)) = self.samples.last_mut() {
            samples.entry(contestant).or_default().push(sample);
        }
    }

    /// Prints the line of a case, and of one with latencies a line for each quantile.
    pub(crate) fn tell(&self, case: &Case) {
        let Some((name, samples)) = self.samples.last() else { return };
        let of = |name: &str, field: Field| {
            samples.get(name).and_then(|samples| median(samples.iter().filter_map(field)))
        };
        let unit = match case.work {
            Work::Bulk(_) => "Mbit/s",
            Work::Latency => "round trips/s",
            Work::Setup(_) => "associations/s",
        };
        let scale = if unit == "Mbit/s" { 1e-6 } else { 1.0 };
        let rate: Field = |sample| Some(sample.rate);
        let rates = ["ours", "usrsctp", "bare"].map(|name| of(name, rate).map(|rate| rate * scale));
        let cpu =
            |name| match (of(name, |s| s.client_cpu_per_gb), of(name, |s| s.server_cpu_per_gb)) {
                (Some(client), Some(server)) => format!("{client:.2} + {server:.2}"),
                _ => String::new(),
            };
        let packets = number(of("ours", |sample| sample.packets_per_second), 0);
        let others = [("usrsctp", cpu("usrsctp")), ("bare", cpu("bare"))];
        let others: Vec<String> = others
            .into_iter()
            .filter(|(_, cpu)| !cpu.is_empty())
            .map(|(name, cpu)| format!("{name} {cpu}"))
            .collect();
        print_line(name, unit, rates, &[packets, cpu("ours"), others.join(", ")]);
        if let Work::Bulk(64) = case.work {
            let messages: Field = |sample| sample.messages_per_second;
            print_line(
                name,
                "messages/s",
                ["ours", "usrsctp", "bare"].map(|name| of(name, messages)),
                &[],
            );
        }
        let quantiles: [(&str, Field); 2] = [("p50 us", |s| s.p50_us), ("p99 us", |s| s.p99_us)];
        for (unit, quantile) in quantiles {
            let times = ["ours", "usrsctp", "bare"].map(|name| of(name, quantile));
            if times[0].is_some() {
                print_line(name, unit, times, &[]);
            }
        }
    }

    /// Writes all runs.
    pub(crate) fn finish(self, file: &Path) -> Outcome<()> {
        let cases: Vec<Value> = self
            .samples
            .iter()
            .map(|(name, samples)| json!({ "case": name, "samples": samples }))
            .collect();
        let time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let all = json!({
            "time": time, "machine": machine(), "runs": self.runs, "seconds": self.seconds,
            "cases": cases
        });
        std::fs::write(file, format!("{all:#}\n"))?;
        println!("\nAll runs: {}", file.display());
        Ok(())
    }
}

type Field = fn(&Sample) -> Option<f64>;

fn print_line(name: &str, unit: &str, values: [Option<f64>; 3], more: &[String]) {
    let [ours, usrsctp, bare] = values;
    let ratio = |other: Option<f64>| number(ours.zip(other).map(|(ours, other)| ours / other), 2);
    let digits = if ours.is_some_and(|ours| ours < 1000.0) { 1 } else { 0 };
    let values = values.map(|value| number(value, digits));
    let mut columns = vec![name.to_owned(), unit.to_owned()];
    columns.extend(values);
    columns.extend([ratio(usrsctp), ratio(bare)]);
    columns.extend_from_slice(more);
    columns.resize(10, String::new());
    println!("| {} |", columns.join(" | "));
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(String::new, |value| format!("{value:.digits$}"))
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Processor, cores, kernel and load, in a line.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model =
        processors.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load: String = read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ");
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{}, {cores} cores, Linux {}, load {load}", model.unwrap_or("?"), kernel.trim())
}
