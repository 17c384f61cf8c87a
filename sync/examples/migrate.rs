//! How a VMM saves the graphics memory of a VM that it has stopped, and loads it in another one.
//!
//! The file has a record for each blob: its resource and its size, then its bytes. Ids of blobs
//! mean nothing to another server, while resources are those of the guest.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use coherd_sync::{Access, Capabilities, Connection, Entry, EntryFlags, Options};

/// Saves or loads the graphics memory of a VM.
#[derive(Parser)]
struct Cli {
    /// What to do
    direction: Direction,
    /// coherd's sync socket
    socket: PathBuf,
    /// The file with the memory
    file: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Direction {
    /// Reads every blob, to the file
    Save,
    /// Writes every blob, from the file
    Load,
}

fn main() -> Result<(), Box<dyn Error>> {
    let cli = Cli::parse();
    let capabilities = match cli.direction {
        Direction::Save => Capabilities::empty(),
        Direction::Load => Capabilities::WRITE,
    };
    let options = Options {
        name: "migrate".to_owned(),
        capabilities,
        ..Options::default()
    };
    let connection = Connection::connect(&cli.socket, &options)?;
    let blobs = connection
        .list()?
        .into_iter()
        .filter(|entry| entry.flags.contains(EntryFlags::OPENABLE));
    match cli.direction {
        Direction::Save => {
            let mut file = BufWriter::new(File::create(&cli.file)?);
            for entry in blobs {
                save(&connection, &entry, &mut file)?;
            }
            file.flush()?;
        }
        Direction::Load => {
            let blobs: Vec<_> = blobs.collect();
            let mut file = BufReader::new(File::open(&cli.file)?);
            while load(&connection, &blobs, &mut file)? {}
        }
    }
    Ok(())
}

fn save(
    connection: &Connection,
    entry: &Entry,
    file: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    let mapping = connection.open(entry.blob, Access::READ)?.map()?;
    file.write_all(&u64::from(entry.resource_id).to_le_bytes())?;
    file.write_all(&entry.size.to_le_bytes())?;
    mapping.read(..)?.write_to(file)?;
    println!("saved resource {}: {} bytes", entry.resource_id, entry.size);
    Ok(())
}

/// Loads one record; `false` at the end of the file.
fn load(
    connection: &Connection,
    blobs: &[Entry],
    file: &mut impl Read,
) -> Result<bool, Box<dyn Error>> {
    let Some(resource_id) = number(file)? else {
        return Ok(false);
    };
    let size = number(file)?.ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
    let entry = blobs
        .iter()
        .find(|entry| u64::from(entry.resource_id) == resource_id && entry.size == size)
        .ok_or_else(|| format!("no resource {resource_id} of {size} bytes here"))?;
    let mapping = connection.open(entry.blob, Access::WRITE)?.map()?;
    let mut guard = mapping.write(..)?;
    guard.read_from(file)?;
    guard.end()?;
    println!("loaded resource {resource_id}: {size} bytes");
    Ok(true)
}

/// A number, or `None` at the end of the file.
fn number(file: &mut impl Read) -> io::Result<Option<u64>> {
    let mut bytes = Vec::new();
    file.take(8).read_to_end(&mut bytes)?;
    match <[u8; 8]>::try_from(bytes) {
        Ok(bytes) => Ok(Some(u64::from_le_bytes(bytes))),
        Err(bytes) if bytes.is_empty() => Ok(None),
        Err(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
