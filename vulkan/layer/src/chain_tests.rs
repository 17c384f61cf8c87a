//! The layer between a stand-in for the loader above and one for the driver below.

use core::ffi::{CStr, c_char, c_void};
use core::mem::{transmute, transmute_copy};
use core::ptr;

use ash::vk;
use ash::vk::Handle as _;

use crate::abi::{LayerInstanceCreateInfo, LayerInstanceLink, VK_LAYER_LINK_INFO};
use crate::proc_addr::get_instance_proc_addr;
use crate::{HIDE_VARIABLE, LAYER_NAME};

const NAMES: [&CStr; 3] = [c"VK_A", c"VK_B", c"VK_C"];

/// What a dispatchable handle points to.
#[repr(C)]
struct Object {
    dispatch_table: *const u8,
}

static TABLE: u8 = 0;

fn object() -> Object {
    Object {
        dispatch_table: &raw const TABLE,
    }
}

fn handle<H: vk::Handle>(object: &Object) -> H {
    H::from_raw(ptr::from_ref(object).expose_provenance() as u64)
}

unsafe extern "system" fn driver_lookup(
    _: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    // SAFETY: the layer passes names that end in a nul.
    let function = match unsafe { CStr::from_ptr(name) }.to_bytes() {
        b"vkCreateInstance" => driver_create as *const (),
        b"vkDestroyInstance" => driver_destroy as *const (),
        b"vkEnumerateDeviceExtensionProperties" => driver_enumerate as *const (),
        b"vkEnumeratePhysicalDevices" => driver_other as *const (),
        _ => return None,
    };
    // SAFETY: a function pointer, called with the type of its name.
    Some(unsafe { transmute::<*const (), unsafe extern "system" fn()>(function) })
}

/// Stands for a function that the layer does not intercept.
unsafe extern "system" fn driver_other() {}

unsafe extern "system" fn driver_create(
    create_info: *const vk::InstanceCreateInfo<'_>,
    _: *const vk::AllocationCallbacks<'_>,
    instance: *mut vk::Instance,
) -> vk::Result {
    // SAFETY: the test passes one chain structure, and room for the instance. The layer must
    // have moved the link on.
    unsafe {
        let info = (*create_info).p_next.cast::<LayerInstanceCreateInfo>();
        assert!((*info).p_layer_info.is_null());
        *instance = handle(Box::leak(Box::new(object())));
    }
    vk::Result::SUCCESS
}

unsafe extern "system" fn driver_destroy(
    instance: vk::Instance,
    _: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: made by `driver_create`.
    drop(unsafe { Box::from_raw(ptr::with_exposed_provenance_mut::<Object>(raw(instance))) });
}

fn raw(instance: vk::Instance) -> usize {
    usize::try_from(instance.as_raw()).unwrap()
}

unsafe extern "system" fn driver_enumerate(
    _: vk::PhysicalDevice,
    layer_name: *const c_char,
    count: *mut u32,
    properties: *mut vk::ExtensionProperties,
) -> vk::Result {
    // SAFETY: null, or a name that ends in a nul.
    if !layer_name.is_null() && unsafe { !CStr::from_ptr(layer_name).is_empty() } {
        return vk::Result::ERROR_LAYER_NOT_PRESENT;
    }
    // SAFETY: the layer queries the count, and then passes an array of as many.
    unsafe {
        if !properties.is_null() {
            assert_eq!(*count, 3);
            for (index, name) in NAMES.into_iter().enumerate() {
                let extension = vk::ExtensionProperties::default().extension_name(name);
                properties.add(index).write(extension.unwrap());
            }
        }
        *count = 3;
    }
    vk::Result::SUCCESS
}

/// Finds one of the layer's functions.
fn find<F: Copy>(instance: vk::Instance, name: &CStr) -> Option<F> {
    // SAFETY: a live or null instance, and a name that ends in a nul.
    let function = unsafe { get_instance_proc_addr(instance, name.as_ptr()) }?;
    // SAFETY: the callers name the type that goes with the name.
    Some(unsafe { transmute_copy(&function) })
}

fn create() -> vk::Instance {
    let mut link = LayerInstanceLink {
        p_next: ptr::null_mut(),
        next_get_instance_proc_addr: Some(driver_lookup),
        next_get_physical_device_proc_addr: None,
    };
    let mut info = LayerInstanceCreateInfo {
        s_type: vk::StructureType::LOADER_INSTANCE_CREATE_INFO,
        p_next: ptr::null(),
        function: VK_LAYER_LINK_INFO,
        p_layer_info: &raw mut link,
    };
    let create_info = vk::InstanceCreateInfo {
        p_next: (&raw mut info).cast::<c_void>(),
        ..Default::default()
    };
    let create: vk::PFN_vkCreateInstance = find(vk::Instance::null(), c"vkCreateInstance").unwrap();
    let mut instance = vk::Instance::null();
    // SAFETY: everything lives through the call.
    let result = unsafe { create(&raw const create_info, ptr::null(), &raw mut instance) };
    assert_eq!(result, vk::Result::SUCCESS);
    instance
}

#[test]
fn hides_the_named_extensions_of_a_driver() {
    // SAFETY: no other thread of the tests touches the environment.
    unsafe { std::env::set_var(HIDE_VARIABLE, "VK_B,VK_not_there") };
    let instance = create();
    let device_object = object();
    let device = handle::<vk::PhysicalDevice>(&device_object);
    let enumerate: vk::PFN_vkEnumerateDeviceExtensionProperties =
        find(instance, c"vkEnumerateDeviceExtensionProperties").unwrap();

    let count = |layer: *const c_char| {
        let mut count = 77;
        // SAFETY: a count query of a device whose dispatch table is the instance's.
        let result = unsafe { enumerate(device, layer, &raw mut count, ptr::null_mut()) };
        (count, result)
    };
    assert_eq!(
        find(instance, c"vkEnumeratePhysicalDevices"),
        Some(driver_other as *const ())
    );
    assert_eq!(count(ptr::null()), (2, vk::Result::SUCCESS));
    assert_eq!(count(c"".as_ptr()), (2, vk::Result::SUCCESS));
    assert_eq!(count(LAYER_NAME.as_ptr()), (0, vk::Result::SUCCESS));
    assert_eq!(
        count(c"VK_LAYER_other".as_ptr()).1,
        vk::Result::ERROR_LAYER_NOT_PRESENT
    );

    let list = |room: u32| {
        let mut array = [vk::ExtensionProperties::default(); 4];
        let mut count = room;
        // SAFETY: as above, with an array of at least `room`.
        let result = unsafe { enumerate(device, ptr::null(), &raw mut count, array.as_mut_ptr()) };
        let names: Vec<_> = array[..count as usize]
            .iter()
            .map(|extension| extension.extension_name_as_c_str().unwrap().to_owned())
            .collect();
        (names, result)
    };
    assert_eq!(
        list(4),
        (vec![c"VK_A".into(), c"VK_C".into()], vk::Result::SUCCESS)
    );
    assert_eq!(
        list(2),
        (vec![c"VK_A".into(), c"VK_C".into()], vk::Result::SUCCESS)
    );
    assert_eq!(list(1), (vec![c"VK_A".into()], vk::Result::INCOMPLETE));
    assert_eq!(list(0), (vec![], vk::Result::INCOMPLETE));

    let destroy: vk::PFN_vkDestroyInstance = find(instance, c"vkDestroyInstance").unwrap();
    // SAFETY: the instance is live, and not used again.
    unsafe { destroy(instance, ptr::null()) };
    let mut left = 0;
    // SAFETY: as above; the device's own object is still there.
    let result = unsafe { enumerate(device, ptr::null(), &raw mut left, ptr::null_mut()) };
    assert_eq!(result, vk::Result::ERROR_UNKNOWN);
}

#[test]
fn looks_up_without_an_instance() {
    let none = vk::Instance::null();
    assert!(find::<usize>(none, c"vkCreateInstance").is_some());
    assert!(find::<usize>(none, c"vkGetInstanceProcAddr").is_some());
    assert!(find::<usize>(none, c"vkDestroyInstance").is_none());
    assert!(find::<usize>(none, c"vkEnumeratePhysicalDevices").is_none());
    // SAFETY: null is answered with null.
    assert!(unsafe { get_instance_proc_addr(none, ptr::null()) }.is_none());
}
