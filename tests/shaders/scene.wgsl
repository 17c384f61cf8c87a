// The lit scene. No derivatives, no transcendental functions and no state between frames: a frame
// depends on its uniforms alone.

struct Frame {
    view_projection: mat4x4<f32>,
    sun_projection: mat4x4<f32>,
    eye: vec4<f32>,
    // Right and up reach to the edge of the picture at distance one.
    right: vec4<f32>,
    up: vec4<f32>,
    forward: vec4<f32>,
    sun: vec4<f32>,
}

struct Instance {
    column_x: vec4<f32>,
    column_y: vec4<f32>,
    column_z: vec4<f32>,
    // w: metallic
    position: vec4<f32>,
    // w: roughness
    albedo: vec4<f32>,
}

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<storage, read> instances: array<Instance>;
@group(0) @binding(2) var shadow_map: texture_depth_2d;
@group(0) @binding(3) var shadow_sampler: sampler_comparison;
@group(0) @binding(4) var picture: texture_2d<f32>;
@group(0) @binding(5) var picture_sampler: sampler;

const SUN_COLOR = vec3<f32>(4.6, 3.3, 2.1);
const SHADOW_TEXEL = 1.0 / 1024.0;

// --- vertices ---

struct Surface {
    @builtin(position) clip: vec4<f32>,
    @location(0) world: vec3<f32>,
    @location(1) normal: vec3<f32>,
    @location(2) albedo_roughness: vec4<f32>,
    @location(3) metallic: f32,
}

fn place(position: vec3<f32>, index: u32) -> vec3<f32> {
    let i = instances[index];
    return i.column_x.xyz * position.x + i.column_y.xyz * position.y + i.column_z.xyz * position.z
        + i.position.xyz;
}

fn surface(position: vec3<f32>, normal: vec3<f32>, index: u32, mirror: vec3<f32>) -> Surface {
    let i = instances[index];
    let world = place(position, index);
    // Columns at right angles: dividing by their squares is the inverse transpose.
    let turned = i.column_x.xyz * (normal.x / dot(i.column_x.xyz, i.column_x.xyz))
        + i.column_y.xyz * (normal.y / dot(i.column_y.xyz, i.column_y.xyz))
        + i.column_z.xyz * (normal.z / dot(i.column_z.xyz, i.column_z.xyz));
    var out: Surface;
    out.clip = frame.view_projection * vec4<f32>(world * mirror, 1.0);
    out.world = world;
    out.normal = normalize(turned);
    out.albedo_roughness = i.albedo;
    out.metallic = i.position.w;
    return out;
}

@vertex
fn object_vertex(
    @location(0) position: vec3<f32>,
    @location(1) normal: vec3<f32>,
    @builtin(instance_index) index: u32,
) -> Surface {
    return surface(position, normal, index, vec3<f32>(1.0, 1.0, 1.0));
}

@vertex
fn mirror_vertex(
    @location(0) position: vec3<f32>,
    @location(1) normal: vec3<f32>,
    @builtin(instance_index) index: u32,
) -> Surface {
    return surface(position, normal, index, vec3<f32>(1.0, -1.0, 1.0));
}

@vertex
fn shadow_vertex(
    @location(0) position: vec3<f32>,
    @builtin(instance_index) index: u32,
) -> @builtin(position) vec4<f32> {
    return frame.sun_projection * vec4<f32>(place(position, index), 1.0);
}

struct Ray {
    @builtin(position) clip: vec4<f32>,
    @location(0) direction: vec3<f32>,
}

@vertex
fn sky_vertex(@builtin(vertex_index) index: u32) -> Ray {
    // One triangle that covers the picture, at the far plane.
    let corner = vec2<f32>(f32(index >> 1u) * 4.0 - 1.0, f32(index & 1u) * 4.0 - 1.0);
    var out: Ray;
    out.clip = vec4<f32>(corner, 1.0, 1.0);
    out.direction = frame.forward.xyz + frame.right.xyz * corner.x - frame.up.xyz * corner.y;
    return out;
}

struct Ground {
    @builtin(position) clip: vec4<f32>,
    @location(0) world: vec3<f32>,
}

@vertex
fn ground_vertex(@location(0) position: vec3<f32>) -> Ground {
    var out: Ground;
    out.clip = frame.view_projection * vec4<f32>(position, 1.0);
    out.world = position;
    return out;
}

// --- light ---

fn sky(direction: vec3<f32>) -> vec3<f32> {
    let low = 1.0 - clamp(direction.y, 0.0, 1.0);
    let low2 = low * low;
    let low4 = low2 * low2;
    let low16 = low4 * low4 * low4 * low4;
    var color = mix(vec3<f32>(0.035, 0.075, 0.26), vec3<f32>(0.30, 0.24, 0.46), low4);
    color = mix(color, vec3<f32>(1.25, 0.62, 0.38), low16 * 0.85);
    let toward = max(dot(direction, frame.sun.xyz), 0.0);
    let t2 = toward * toward;
    let t8 = t2 * t2 * t2 * t2;
    let t32 = t8 * t8 * t8 * t8;
    let t128 = t32 * t32 * t32 * t32;
    color += vec3<f32>(0.42, 0.20, 0.08) * t8 + vec3<f32>(1.2, 0.75, 0.40) * t32;
    return color + vec3<f32>(9.0, 7.0, 4.5) * t128 * t128;
}

// Light from all of the sky above, or from the ground below.
fn ambient(normal: vec3<f32>) -> vec3<f32> {
    let above = normal.y * 0.5 + 0.5;
    return mix(vec3<f32>(0.13, 0.08, 0.07), vec3<f32>(0.24, 0.27, 0.46), above);
}

fn sun_map(world: vec3<f32>) -> vec3<f32> {
    let clip = frame.sun_projection * vec4<f32>(world, 1.0);
    return vec3<f32>(clip.xy * 0.5 + 0.5, clip.z);
}

fn sunlight(world: vec3<f32>) -> f32 {
    let at = sun_map(world);
    return textureSampleCompareLevel(shadow_map, shadow_sampler, at.xy, at.z);
}

// The ground is where the shadows are looked at, so their edges are softer there.
fn soft_sunlight(world: vec3<f32>) -> f32 {
    let at = sun_map(world);
    let d = SHADOW_TEXEL * 0.9;
    return 0.25
        * (textureSampleCompareLevel(shadow_map, shadow_sampler, at.xy + vec2<f32>(-d, -d), at.z)
            + textureSampleCompareLevel(shadow_map, shadow_sampler, at.xy + vec2<f32>(d, -d), at.z)
            + textureSampleCompareLevel(shadow_map, shadow_sampler, at.xy + vec2<f32>(-d, d), at.z)
            + textureSampleCompareLevel(shadow_map, shadow_sampler, at.xy + vec2<f32>(d, d), at.z));
}

// A film's response, after Narkowicz's fit of ACES, in the picture's encoding: square roots, so
// that eight bits suffice until the last pass.
fn expose(color: vec3<f32>) -> vec3<f32> {
    let c = color * 0.62;
    let response = c * (2.51 * c + 0.03) / (c * (2.43 * c + 0.59) + 0.14);
    return sqrt(clamp(response, vec3<f32>(0.0), vec3<f32>(1.0)));
}

fn shade(s: Surface) -> vec3<f32> {
    let normal = normalize(s.normal);
    let view = normalize(frame.eye.xyz - s.world);
    let albedo = s.albedo_roughness.xyz;
    let roughness = s.albedo_roughness.w;
    let facing = max(dot(normal, view), 0.02);
    let f0 = mix(vec3<f32>(0.04), albedo, s.metallic);
    let diffuse = albedo * (1.0 - s.metallic);

    let lambert = max(dot(normal, frame.sun.xyz), 0.0);
    var direct = vec3<f32>(0.0);
    if lambert > 0.0 {
        let half_way = normalize(view + frame.sun.xyz);
        let alpha = roughness * roughness;
        let a2 = max(alpha * alpha, 0.0004);
        let nh = max(dot(normal, half_way), 0.0);
        let spread = nh * nh * (a2 - 1.0) + 1.0;
        let distribution = a2 / (3.14159 * spread * spread);
        let visibility = 0.5 / mix(2.0 * lambert * facing, lambert + facing, alpha);
        let away = 1.0 - max(dot(view, half_way), 0.0);
        let away2 = away * away;
        let fresnel = f0 + (1.0 - f0) * (away2 * away2 * away);
        let gloss = min(fresnel * (distribution * visibility), vec3<f32>(24.0));
        direct = (diffuse * 0.318 + gloss) * SUN_COLOR * (lambert * sunlight(s.world + normal * 0.03));
    }

    // Corners near the ground get less of the sky.
    let open = 0.35 + 0.65 * clamp(s.world.y * 1.1, 0.0, 1.0);
    let grazing = 1.0 - facing;
    let grazing2 = grazing * grazing;
    let rim = f0 + (max(vec3<f32>(1.0 - roughness), f0) - f0) * (grazing2 * grazing2 * grazing);
    let bounce = reflect(-view, normal);
    let floor_color = vec3<f32>(0.10, 0.085, 0.10);
    let horizon = clamp(bounce.y * 6.0 + 0.5, 0.0, 1.0);
    let mirrored = mix(floor_color, sky(vec3<f32>(bounce.x, max(bounce.y, 0.0), bounce.z)), horizon);
    let blurred = mix(mirrored, ambient(bounce) * 1.3, clamp(roughness * 1.5, 0.0, 1.0));
    return direct + (diffuse * ambient(normal) + rim * blurred) * open;
}

// --- fragments ---

@fragment
fn object_fragment(s: Surface) -> @location(0) vec4<f32> {
    return vec4<f32>(expose(shade(s)), 1.0);
}

// The polish is dull: shape and colour are enough, gloss and shadows would not be seen.
@fragment
fn mirror_fragment(s: Surface) -> @location(0) vec4<f32> {
    let normal = normalize(s.normal);
    let lambert = max(dot(normal, frame.sun.xyz), 0.0);
    let open = 0.35 + 0.65 * clamp(s.world.y * 1.1, 0.0, 1.0);
    let light = SUN_COLOR * (lambert * 0.318) + ambient(normal) * open;
    return vec4<f32>(expose(s.albedo_roughness.xyz * light), 1.0);
}

@fragment
fn sky_fragment(ray: Ray) -> @location(0) vec4<f32> {
    let direction = normalize(ray.direction);
    // Below the horizon is the sky's reflection, which the ground then covers in part.
    let color = sky(vec3<f32>(direction.x, abs(direction.y), direction.z));
    return vec4<f32>(expose(color), 1.0);
}

// How much of a line of a grid of cells covers a pixel that is `width` wide on the ground.
fn line(at: f32, width: f32) -> f32 {
    let distance = abs(fract(at + 0.5) - 0.5);
    let half_line = 0.012;
    return clamp((half_line + width - distance) / (2.0 * width), 0.0, 1.0)
        * clamp(half_line * 2.0 / width, 0.0, 1.0);
}

@fragment
fn ground_fragment(g: Ground) -> @location(0) vec4<f32> {
    let to_eye = frame.eye.xyz - g.world;
    let distance = sqrt(dot(to_eye, to_eye));
    let view = to_eye / distance;
    let radius = sqrt(dot(g.world.xz, g.world.xz));

    // The pixel's size on the ground, from the distance and the angle it is seen at.
    let width = distance * 0.0009 / max(view.y, 0.02);
    let lines = max(line(g.world.x * 0.5, width), line(g.world.z * 0.5, width));
    let albedo = mix(vec3<f32>(0.085, 0.085, 0.105), vec3<f32>(0.20, 0.19, 0.22), lines * 0.55);

    let lit = soft_sunlight(g.world) * frame.sun.y;
    let under = 1.0 - 0.55 * clamp(1.0 - (radius - 0.6) / 5.0, 0.0, 1.0);
    let color = albedo * (SUN_COLOR * lit * 0.318 + ambient(vec3<f32>(0.0, 1.0, 0.0)) * under);

    let grazing = 1.0 - view.y;
    let grazing2 = grazing * grazing;
    let reflected = 0.16 + 0.62 * grazing2 * grazing2 * grazing;
    let away = vec3<f32>(-view.x, 0.0, -view.z);
    let haze = clamp((distance - 14.0) / 60.0, 0.0, 1.0);
    let haze2 = 1.0 - (1.0 - haze) * (1.0 - haze);
    let shown = expose(mix(color, sky(normalize(away)), haze2));
    return vec4<f32>(shown, mix(1.0 - reflected, 1.0, haze2));
}

// Weighs the colours as the eye does.
fn brightness(color: vec3<f32>) -> f32 {
    return dot(color, vec3<f32>(0.299, 0.587, 0.114));
}

fn pixel(at: vec2<i32>, size: vec2<i32>) -> vec3<f32> {
    return textureLoad(picture, clamp(at, vec2<i32>(0), size - 1), 0).xyz;
}

fn between(at: vec2<f32>) -> vec3<f32> {
    return textureSampleLevel(picture, picture_sampler, at, 0.0).xyz;
}

// Blends along edges, after Lottes' FXAA; a coverage of several samples costs a CPU driver three
// times the whole frame.
@fragment
fn screen_fragment(ray: Ray) -> @location(0) vec4<f32> {
    let size = vec2<i32>(textureDimensions(picture));
    let at = vec2<i32>(ray.clip.xy);
    var color = pixel(at, size);
    let here = brightness(color);
    let nw = brightness(pixel(at + vec2<i32>(-1, -1), size));
    let ne = brightness(pixel(at + vec2<i32>(1, -1), size));
    let sw = brightness(pixel(at + vec2<i32>(-1, 1), size));
    let se = brightness(pixel(at + vec2<i32>(1, 1), size));
    let darkest = min(here, min(min(nw, ne), min(sw, se)));
    let brightest = max(here, max(max(nw, ne), max(sw, se)));
    if brightest - darkest > max(0.02, brightest * 0.06) {
        let across = vec2<f32>((sw + se) - (nw + ne), (nw + sw) - (ne + se));
        let soften = max((nw + ne + sw + se) * 0.03125, 0.0078125);
        let steep = 1.0 / (min(abs(across.x), abs(across.y)) + soften);
        let along = clamp(across * steep, vec2<f32>(-8.0), vec2<f32>(8.0)) / vec2<f32>(size);
        let middle = ray.clip.xy / vec2<f32>(size);
        let close = 0.5 * (between(middle - along * 0.16666667) + between(middle + along * 0.16666667));
        let wide = 0.5 * close + 0.25 * (between(middle - along * 0.5) + between(middle + along * 0.5));
        let wide_brightness = brightness(wide);
        color = select(wide, close, wide_brightness < darkest || wide_brightness > brightest);
    }
    return vec4<f32>(dither(color * color, ray.clip), 1.0);
}

// Hides the steps of eight bits in smooth gradients, with a pattern fixed to the pixel.
fn dither(color: vec3<f32>, clip: vec4<f32>) -> vec3<f32> {
    let x = u32(clip.x);
    let y = u32(clip.y);
    let d = x ^ y;
    let rank = ((d & 1u) << 3u) | ((y & 1u) << 2u) | (d & 2u) | ((y & 2u) >> 1u);
    // The steps of sRGB are finer in the dark.
    return color + (color + 0.02) * ((f32(rank) - 7.5) / 16.0 / 90.0);
}
