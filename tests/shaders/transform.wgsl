// XORs every word of a buffer with a value derived from its index, in place.
// `checks::pattern::mask` is the same function on the CPU.

@group(0) @binding(0) var<storage, read_write> words: array<u32>;

fn mask(index: u32) -> u32 {
    var x = index * 0x9e3779b1u + 0x7f4a7c15u;
    x ^= x >> 15u;
    x *= 0x85ebca77u;
    x ^= x >> 13u;
    return x;
}

// A stride over the whole grid, because 64 MiB of words need more workgroups than
// maxComputeWorkGroupCount promises.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let count = arrayLength(&words);
    let stride = groups.x * 64u;
    for (var index = id.x; index < count; index += stride) {
        words[index] ^= mask(index);
    }
}
