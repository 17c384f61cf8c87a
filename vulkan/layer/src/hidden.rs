//! Which extensions are hidden, and what is left of a list of them.

use core::mem::MaybeUninit;

use ash::vk;

/// The names of the hidden extensions.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hidden(Vec<Vec<u8>>);

impl Hidden {
    /// Reads a comma-separated list; blanks around a name do not count.
    pub fn parse(list: &[u8]) -> Self {
        let names = list
            .split(|&byte| byte == b',')
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.is_empty());
        Self(names.map(<[u8]>::to_vec).collect())
    }

    /// Whether every extension stays visible.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the extension is to be hidden.
    pub fn hides(&self, extension: &vk::ExtensionProperties) -> bool {
        extension
            .extension_name_as_c_str()
            .is_ok_and(|name| self.0.iter().any(|hidden| hidden == name.to_bytes()))
    }
}

/// Copies `extensions` into the caller's array, as far as it reaches.
///
/// Returns how many were written, and `VK_INCOMPLETE` if that is not all of them.
pub fn fill(
    extensions: &[vk::ExtensionProperties],
    array: &mut [MaybeUninit<vk::ExtensionProperties>],
) -> (usize, vk::Result) {
    for (slot, extension) in array.iter_mut().zip(extensions) {
        slot.write(*extension);
    }
    if array.len() < extensions.len() {
        (array.len(), vk::Result::INCOMPLETE)
    } else {
        (extensions.len(), vk::Result::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use core::ffi::CStr;

    use super::*;

    fn extension(name: &CStr) -> vk::ExtensionProperties {
        vk::ExtensionProperties::default()
            .extension_name(name)
            .unwrap()
            .spec_version(7)
    }

    fn fill_array_of(
        room: usize,
        extensions: &[vk::ExtensionProperties],
    ) -> (Vec<u32>, usize, vk::Result) {
        let blank = vk::ExtensionProperties::default();
        let mut array = vec![MaybeUninit::new(blank); room];
        let (written, result) = fill(extensions, &mut array);
        // SAFETY: every slot was initialised above.
        let versions = array
            .iter()
            .map(|slot| unsafe { slot.assume_init_ref() }.spec_version);
        (versions.collect(), written, result)
    }

    #[test]
    fn parses_names() {
        let names = |list: &str| Hidden::parse(list.as_bytes()).0;
        assert_eq!(names(""), Vec::<Vec<u8>>::new());
        assert_eq!(names(" , ,"), Vec::<Vec<u8>>::new());
        assert_eq!(names("VK_A"), [b"VK_A".to_vec()]);
        assert_eq!(names("VK_A, VK_B,,\tVK_C "), [b"VK_A", b"VK_B", b"VK_C"]);
    }

    #[test]
    fn hides_whole_names_only() {
        let hidden = Hidden::parse(b"VK_EXT_external_memory_dma_buf");
        assert!(hidden.hides(&extension(c"VK_EXT_external_memory_dma_buf")));
        assert!(!hidden.hides(&extension(c"VK_EXT_external_memory_dma_buf2")));
        assert!(!hidden.hides(&extension(c"VK_EXT_external_memory")));
        assert!(!hidden.hides(&extension(c"vk_ext_external_memory_dma_buf")));
        assert!(!hidden.hides(&extension(c"")));
        assert!(!Hidden::default().hides(&extension(c"VK_EXT_external_memory_dma_buf")));
    }

    #[test]
    fn a_name_without_its_nul_is_left_alone() {
        let mut endless = vk::ExtensionProperties::default();
        endless.extension_name.fill(65);
        assert!(!Hidden::parse(&[b'A'; vk::MAX_EXTENSION_NAME_SIZE]).hides(&endless));
    }

    #[test]
    fn fills_the_array() {
        let two = [extension(c"VK_A"), extension(c"VK_B")];
        assert_eq!(fill_array_of(2, &two), (vec![7, 7], 2, vk::Result::SUCCESS));
        assert_eq!(
            fill_array_of(3, &two),
            (vec![7, 7, 0], 2, vk::Result::SUCCESS)
        );
        assert_eq!(fill_array_of(0, &[]), (vec![], 0, vk::Result::SUCCESS));
    }

    #[test]
    fn a_short_array_is_incomplete() {
        let two = [extension(c"VK_A"), extension(c"VK_B")];
        assert_eq!(fill_array_of(1, &two), (vec![7], 1, vk::Result::INCOMPLETE));
        assert_eq!(fill_array_of(0, &two), (vec![], 0, vk::Result::INCOMPLETE));
    }
}
