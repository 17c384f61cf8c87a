// Never ends, unless somebody writes to the buffer.

@group(0) @binding(0) var<storage, read_write> stop: array<atomic<u32>>;

@compute @workgroup_size(64)
fn main() {
    loop {
        if atomicLoad(&stop[0]) != 0u {
            break;
        }
    }
}
