//! Decompression of kernel modules, and of the vmlinux inside a bzImage.

use std::{
    io::{Seek as _, Write as _},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;

use crate::command;

/// Magic number of each compression format, and the tool that decompresses it.
const FORMATS: &[(&[u8], &str)] =
    &[(b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\x1f\x8b", "gzip")];

/// Magic number of uncompressed kernels and modules.
const ELF: &[u8] = b"\x7fELF";

/// Returns the ELF file in a file that may be compressed.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>> {
    decompress(fs::read(file)?).with_context(|| file.display().to_string())
}

fn decompress(bytes: Vec<u8>) -> Result<Vec<u8>> {
    if bytes.starts_with(ELF) {
        return Ok(bytes);
    }
    let Some((_, tool)) = FORMATS.iter().find(|(magic, _)| bytes.starts_with(magic)) else {
        let first = bytes.get(..6).unwrap_or(&bytes);
        bail!(
            "expected an ELF file or one compressed with xz, zstd or gzip, got one that begins with {first:02x?}"
        );
    };
    let mut input = tempfile::tempfile()?;
    input.write_all(&bytes)?;
    input.rewind()?;
    let elf = command::stdout(Command::new(tool).args(["--decompress", "--stdout", "--quiet"]).stdin(input))?;
    ensure!(elf.starts_with(ELF), "the decompressed data is not an ELF file");
    Ok(elf)
}

/// Returns the ELF file inside a bzImage; none if the file is not a bzImage.
///
/// Source: `Documentation/arch/x86/boot.rst`. The last four bytes of the payload are the uncompressed length, little
/// endian (`size_append` in `scripts/Makefile.lib`).
pub(crate) fn vmlinux(image: &[u8]) -> Result<Option<Vec<u8>>> {
    const SETUP_SECTORS: usize = 0x1f1;
    const MAGIC: usize = 0x202;
    const PAYLOAD_OFFSET: usize = 0x248;
    const PAYLOAD_LENGTH: usize = 0x24c;
    if image.get(MAGIC..MAGIC + 4) != Some(b"HdrS") {
        return Ok(None);
    }
    let number = |at: usize, bytes: usize| -> Result<usize> {
        let field = image.get(at..at + bytes).context("the bzImage is shorter than its setup header")?;
        Ok(field.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    };
    let setup_sectors = match number(SETUP_SECTORS, 1)? {
        0 => 4,
        sectors => sectors,
    };
    let start = (setup_sectors + 1) * 512 + number(PAYLOAD_OFFSET, 4)?;
    let end = start + number(PAYLOAD_LENGTH, 4)?;
    let payload = image.get(start..end).context("the bzImage is shorter than its header says")?;
    let (compressed, length) = payload.split_last_chunk::<4>().context("the bzImage has no payload")?;
    let kernel = decompress(compressed.to_vec())?;
    let length = usize::try_from(u32::from_le_bytes(*length))?;
    ensure!(kernel.len() == length, "expected a vmlinux of {length} bytes, got {}", kernel.len());
    Ok(Some(kernel))
}

/// Returns the release in the banner of an ELF kernel (`linux_banner`).
pub(crate) fn release_of(kernel: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    let found = kernel.windows(BANNER.len()).enumerate().filter(|(_, window)| *window == BANNER);
    let mut releases =
        found.filter_map(|(at, _)| kernel.get(at + BANNER.len()..)?.split(|byte| *byte == b' ').next());
    // A kernel also contains the format string, in which `%s` is the release.
    let release = releases.find(|release| release.first().is_some_and(u8::is_ascii_digit))?;
    Some(String::from_utf8_lossy(release).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        to.write_all(bytes).unwrap();
        to.finish().unwrap()
    }

    /// A bzImage with the header fields that locate the payload.
    fn image(kernel: &[u8], length: usize) -> Vec<u8> {
        let mut payload = gzip(kernel);
        payload.extend(u32::try_from(length).unwrap().to_le_bytes());
        let mut image = vec![0; 1024];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&0_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image.extend(payload);
        image
    }

    #[test]
    fn the_vmlinux_of_a_bzimage_is_extracted() {
        let kernel = [ELF, &[7; 100_000]].concat();
        assert_eq!(vmlinux(&image(&kernel, kernel.len())).unwrap(), Some(kernel));
        assert_eq!(vmlinux(&[0; 4096]).unwrap(), None);
    }

    #[test]
    fn a_bzimage_that_is_truncated_or_has_a_wrong_length_is_rejected() {
        let kernel = [ELF, &[7; 100_000]].concat();
        let whole = image(&kernel, kernel.len());
        for wrong in
            [image(&kernel, kernel.len() + 1), whole[..whole.len() - 1].to_vec(), whole[..0x210].to_vec()]
        {
            assert!(vmlinux(&wrong).is_err());
        }
        assert!(decompress(b"neither".to_vec()).is_err());
        let cut = gzip(&kernel);
        assert!(decompress(cut[..cut.len() / 2].to_vec()).is_err());
    }

    #[test]
    fn the_release_is_read_from_the_banner() {
        assert_eq!(
            release_of(b"..Linux version %s (%s)..Linux version 7.3.4+deb13-amd64 (x)").as_deref(),
            Some("7.3.4+deb13-amd64")
        );
        assert_eq!(release_of(b"..Linux version %s (%s)"), None);
        assert_eq!(release_of(b"nothing"), None);
    }
}
