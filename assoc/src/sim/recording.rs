//! Everything a simulated network carried, kept until the run turns out well.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::PathBuf;

use super::pcap::{self, Record};

/// The packets of one run.
#[derive(Debug)]
pub(super) struct Recording {
    name: String,
    seed: u64,
    directory: PathBuf,
    records: Vec<Record>,
}

impl Recording {
    pub(super) fn new(name: &str, seed: u64) -> Self {
        Self { name: name.to_owned(), seed, directory: default_directory(), records: Vec::new() }
    }

    pub(super) fn set_directory(&mut self, directory: PathBuf) {
        self.directory = directory;
    }

    pub(super) fn add(&mut self, record: Record) {
        self.records.push(record);
    }

    /// How many packets there are, and a digest of all of them with their times and addresses.
    pub(super) fn digest(&self) -> (usize, u64) {
        // FNV-1a: two runs are compared, nobody is to be kept from forging one.
        let mut digest = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |bytes: &[u8]| {
            for byte in bytes {
                digest = (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        for record in &self.records {
            add(&record.at.as_nanos().to_be_bytes());
            add(record.source.to_string().as_bytes());
            add(record.destination.to_string().as_bytes());
            add(&record.payload);
        }
        (self.records.len(), digest)
    }

    /// Tells how to run a failed simulation again, and where its packets are.
    pub(super) fn report(&self, at: std::time::Duration) {
        let Self { name, seed, .. } = self;
        eprintln!("simulation {name} failed at {at:?} with seed {seed}");
        eprintln!("replay: USCTP_SIM_SEED={seed} cargo test -p usctp-assoc {name}");
        match self.write_pcap() {
            Ok(path) => eprintln!("packets: {}", path.display()),
            Err(error) => eprintln!("the packets could not be written: {error}"),
        }
    }

    fn write_pcap(&self) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.directory)?;
        let path = self.directory.join(format!("{}-{}.pcap", self.name, self.seed));
        pcap::write(&self.records, &mut BufWriter::new(File::create(&path)?))?;
        Ok(path)
    }
}

/// Cargo's directory for what tests leave behind, which lies beside that of the running test program.
fn default_directory() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let profile =
        program.ancestors().find(|path| path.ends_with("deps")).and_then(|deps| deps.parent());
    match profile.and_then(|profile| profile.parent()) {
        Some(target) => target.join("tmp"),
        None => std::env::temp_dir(),
    }
}
