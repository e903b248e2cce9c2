/* Made by elementary_coefficients.py: lowest power first. */

#if REAL_IS_FLOAT
static const real ASIN_REST[] = {
    (real)0x1.555554e435732p-3,
    (real)0x1.333430fcff28ep-4,
    (real)0x1.6d5bb95f8e653p-5,
    (real)0x1.fd8da2554dd34p-6,
    (real)0x1.18f91e79712c6p-6,
    (real)0x1.13fed3dd245c1p-5,
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
    (real)0x1.3333333332ecap-4,
    (real)0x1.6db6db6e31f13p-5,
    (real)0x1.f1c71c1db0623p-6,
    (real)0x1.6e8bb1c8209a2p-6,
    (real)0x1.1c4d35cf95421p-6,
    (real)0x1.c9cf07674736ap-7,
    (real)0x1.782651caa6547p-7,
    (real)0x1.52420b04b37bep-7,
    (real)0x1.65a9c4dfcf8b2p-8,
    (real)0x1.1d189408314eep-6,
    (real)-0x1.e6aaa8a0a04ccp-7,
    (real)0x1.d72b2bc8155f8p-6,
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
