/* Made by elementary_coefficients.py: lowest power first. */

#if REAL_IS_FLOAT
static const real ASIN_REST[] = {
    (real)0x1.55555586dd4bfp-3,
    (real)0x1.3332b62bdb61cp-4,
    (real)0x1.6dea38a4b11bap-5,
    (real)0x1.e9c1e2435f3bfp-6,
    (real)0x1.bd8d8ec8ddcacp-6,
    (real)-0x1.1dda3ce0cedf5p-7,
    (real)0x1.801e0c8c35ef3p-4,
    (real)-0x1.f000b623b160ap-4,
    (real)0x1.be05f7d80ba69p-4,
};
static const real FOLD_BEND[] = {
    (real)0x1.b2995e7115c9fp+0,
    (real)0x1.5bae381970848p-3,
    (real)0x1.bece9bd94866bp-5,
    (real)0x1.a4640a5502ff3p-6,
    (real)0x1.6c232460d45f5p-7,
    (real)0x1.4d827fa73be65p-6,
    (real)-0x1.2406833cd93bdp-6,
    (real)0x1.a7a1d13510f10p-6,
};
static const real EXP_REST[] = {
    (real)0x1.0000000b8f62bp-1,
    (real)0x1.5555555a78232p-3,
    (real)0x1.5554e9114ecf9p-5,
    (real)0x1.1110e0f726534p-7,
    (real)0x1.6d431504c53d3p-10,
    (real)0x1.a124e3f154d32p-13,
};
#else
static const real ASIN_REST[] = {
    (real)0x1.5555555555556p-3,
    (real)0x1.3333333332ebbp-4,
    (real)0x1.6db6db6e3c813p-5,
    (real)0x1.f1c71c0ef9106p-6,
    (real)0x1.6e8bb625572c0p-6,
    (real)0x1.1c4c7e0186331p-6,
    (real)0x1.c9f4ec07e6abcp-7,
    (real)0x1.7587ce6a9850ap-7,
    (real)0x1.72a2ea1d2b1c1p-7,
    (real)-0x1.afc6c427270afp-9,
    (real)0x1.2e2d0ea79258bp-4,
    (real)-0x1.1fbd195d08bd9p-2,
    (real)0x1.e78f554ced3e5p-1,
    (real)-0x1.2d4076ca90d77p+1,
    (real)0x1.189f1ed35aeeap+2,
    (real)-0x1.7886e5742fb04p+2,
    (real)0x1.5bedb91889043p+2,
    (real)-0x1.8c24336726cefp+1,
    (real)0x1.ad72ec05690c3p-1,
};
static const real FOLD_BEND[] = {
    (real)0x1.b2995e7b7b603p+0,
    (real)0x1.5bade52f95fbbp-3,
    (real)0x1.bf0426aa9e706p-5,
    (real)0x1.9de7665b65eb5p-6,
    (real)0x1.ccf02d1314c26p-7,
    (real)0x1.1f34f3c52e5d7p-7,
    (real)0x1.81e2603f6b752p-8,
    (real)0x1.1528f031366a4p-8,
    (real)0x1.60a6878ea7426p-9,
    (real)0x1.4a3d12fc9a973p-8,
    (real)-0x1.71558cd3e55f4p-7,
    (real)0x1.98df75b92293cp-5,
    (real)-0x1.0f1d636d55c73p-3,
    (real)0x1.17ba625e6319fp-2,
    (real)-0x1.972b2ea0563cfp-2,
    (real)0x1.98bd37f13ffd6p-2,
    (real)-0x1.f5d2470d7515cp-3,
    (real)0x1.2861f5e4fce8cp-4,
};
static const real EXP_REST[] = {
    (real)0x1.0000000000000p-1,
    (real)0x1.5555555555557p-3,
    (real)0x1.5555555555556p-5,
    (real)0x1.11111111100dfp-7,
    (real)0x1.6c16c16c162d6p-10,
    (real)0x1.a01a01abe62ddp-13,
    (real)0x1.a01a01a6d7808p-16,
    (real)0x1.71de02375656cp-19,
    (real)0x1.27e4db67b4303p-22,
    (real)0x1.af4ddd84882fep-26,
    (real)0x1.1f72fc730b4ffp-29,
};
#endif
