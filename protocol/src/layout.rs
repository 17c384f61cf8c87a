//! How a wire structure is declared: a `repr(C)` of little-endian fields with alignment 1, whose
//! size is checked, and which can be viewed in place in any byte buffer.

macro_rules! wire {
    ($($(#[$meta:meta])* $name:ident, $len:literal { $($(#[$fmeta:meta])* $field:ident: $ty:ty,)* })*) => {
        $(
            $(#[$meta])*
            #[derive(
                Clone, Copy, Debug, PartialEq, Eq, zerocopy::FromBytes, zerocopy::IntoBytes,
                zerocopy::KnownLayout, zerocopy::Immutable, zerocopy::Unaligned,
            )]
            #[repr(C)]
            pub struct $name {
                $(
                    $(#[$fmeta])*
                    #[allow(missing_docs, reason = "the format's page explains the fields")]
                    pub $field: $ty,
                )*
            }
            const _: () = assert!(size_of::<$name>() == $len);
        )*
    };
}
pub(crate) use wire;
