//! What kernels and their modules are compressed with.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

/// The first bytes of a form, and what makes plain bytes of it.
const FORMS: &[(&[u8], &[&str])] = &[
    (b"\xfd7zXZ\0", &["xz", "--decompress", "--stdout"]),
    (b"\x28\xb5\x2f\xfd", &["zstd", "--decompress", "--stdout", "--quiet"]),
    (b"\x1f\x8b", &["gzip", "--decompress", "--stdout"]),
];

/// The first bytes of what both kernels and modules are when they are not compressed.
const ELF: &[u8] = b"\x7fELF";

/// Reads a file that may be compressed.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
    plain(bytes).with_context(|| file.display().to_string())
}

/// Decompresses what is compressed, and gives back what is an ELF file already.
fn plain(bytes: Vec<u8>) -> Result<Vec<u8>> {
    if bytes.starts_with(ELF) {
        return Ok(bytes);
    }
    let Some((_, [tool, arguments @ ..])) = FORMS.iter().find(|(magic, _)| bytes.starts_with(magic)) else {
        let first = bytes.get(..6).unwrap_or(&bytes);
        bail!("neither an ELF file nor compressed by xz, zstd or gzip: it begins with {first:02x?}");
    };
    let mut child = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("failed to start {tool}"))?;
    let mut input = child.stdin.take().context("no pipe to the tool")?;
    // It reads while it writes: both sides of it must be served at once. What it did not read, its exit status tells.
    let feeder = std::thread::spawn(move || drop(input.write_all(&bytes)));
    let output = child.wait_with_output().with_context(|| format!("failed to run {tool}"))?;
    drop(feeder.join());
    ensure!(output.status.success(), "{tool} failed with {}", output.status);
    Ok(output.stdout)
}

/// The kernel within a bzImage as an ELF file, and its release; none where it is not a bzImage.
///
/// Source: `Documentation/arch/x86/boot.rst`. What follows the compressed kernel in the payload is its plain length in four
/// bytes, little endian (`size_append` in `scripts/Makefile.lib`).
pub(crate) fn vmlinux(image: &[u8]) -> Result<Option<(Vec<u8>, String)>> {
    const SETUP_SECTORS: usize = 0x1f1;
    const MAGIC: usize = 0x202;
    const KERNEL_VERSION: usize = 0x20e;
    const PAYLOAD_OFFSET: usize = 0x248;
    const PAYLOAD_LENGTH: usize = 0x24c;
    if image.get(MAGIC..MAGIC + 4) != Some(b"HdrS") {
        return Ok(None);
    }
    let setup = match image.get(SETUP_SECTORS).copied().unwrap_or(0) {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (setup + 1) * 512 + number(image, PAYLOAD_OFFSET)?;
    let end = start + number(image, PAYLOAD_LENGTH)?;
    let payload = image.get(start..end).context("the image is shorter than its header says")?;
    let (packed, length) = payload.split_last_chunk::<4>().context("the image has no kernel in it")?;
    let kernel = plain(packed.to_vec())?;
    let length = usize::try_from(u32::from_le_bytes(*length))?;
    ensure!(kernel.len() == length, "the kernel has {} bytes and should have {length}", kernel.len());
    ensure!(kernel.starts_with(ELF), "what is in the image is not an ELF file");

    let at = image.get(KERNEL_VERSION..KERNEL_VERSION + 2).context("the image has no header")?;
    let at = 0x200 + usize::from(u16::from_le_bytes([at[0], at[1]]));
    let text = image.get(at..).unwrap_or_default();
    let release = text.split(|byte| *byte == b' ' || *byte == 0).next().unwrap_or_default();
    Ok(Some((kernel, String::from_utf8_lossy(release).into_owned())))
}

/// The release that an ELF kernel says in its banner (`linux_banner`).
pub(crate) fn release_of(kernel: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    let found = kernel.windows(BANNER.len()).enumerate().filter(|(_, window)| *window == BANNER);
    let mut releases =
        found.filter_map(|(at, _)| kernel.get(at + BANNER.len()..)?.split(|byte| *byte == b' ').next());
    // A format, `%s`, is somewhere in a kernel too.
    let release = releases.find(|release| release.first().is_some_and(u8::is_ascii_digit))?;
    Some(String::from_utf8_lossy(release).into_owned())
}

fn number(image: &[u8], at: usize) -> Result<usize> {
    let bytes = image.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    let bytes = bytes.context("the image is shorter than its header")?;
    Ok(usize::try_from(u32::from_le_bytes(bytes))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        to.write_all(bytes).unwrap();
        to.finish().unwrap()
    }

    /// A bzImage as far as its header tells of a kernel.
    fn image(kernel: &[u8], length: usize) -> Vec<u8> {
        let mut payload = gzip(kernel);
        payload.extend(u32::try_from(length).unwrap().to_le_bytes());
        let mut image = vec![0; 1024];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        image[0x300..0x310].copy_from_slice(b"6.1.0-52-amd64 (");
        image[0x248..0x24c].copy_from_slice(&0_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image.extend(payload);
        image
    }

    #[test]
    fn the_kernel_in_an_image_is_found() {
        let kernel = [ELF, &[7; 100_000]].concat();
        let found = vmlinux(&image(&kernel, kernel.len())).unwrap();
        assert_eq!(found, Some((kernel, "6.1.0-52-amd64".to_owned())));
        assert_eq!(vmlinux(&[0; 4096]).unwrap(), None);
    }

    #[test]
    fn an_image_that_is_cut_or_lies_about_its_kernel_is_refused() {
        let kernel = [ELF, &[7; 100_000]].concat();
        let whole = image(&kernel, kernel.len());
        for wrong in
            [image(&kernel, kernel.len() + 1), whole[..whole.len() - 1].to_vec(), whole[..0x210].to_vec()]
        {
            assert!(vmlinux(&wrong).is_err());
        }
        assert!(plain(b"neither".to_vec()).is_err());
        let cut = gzip(&kernel);
        assert!(plain(cut[..cut.len() / 2].to_vec()).is_err());
    }

    #[test]
    fn a_kernel_tells_its_release() {
        assert_eq!(
            release_of(b"..Linux version %s (%s)..Linux version 7.3.4+deb13-amd64 (x)").as_deref(),
            Some("7.3.4+deb13-amd64")
        );
        assert_eq!(release_of(b"..Linux version %s (%s)"), None);
        assert_eq!(release_of(b"nothing"), None);
    }
}
