// Elementary functions and number formats, branch-free, so that the compiler turns loops over them into vectors.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__GNUC__)
#define PREFETCH(address) __builtin_prefetch(address, 0, 2)
#define INLINE static inline __attribute__((always_inline))  // a call left in a loop keeps it from becoming vectors
#else
#define PREFETCH(address)
#define INLINE static inline
#endif

template <class To, class From>
INLINE To bits_of(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

INLINE float sign(float x) { return float(x > 0.0f) - float(x < 0.0f); }

// e^x: x = n·ln 2 + r with |r| <= ln 2 / 2, and the Taylor polynomial of e^r. Relative error below 2e-7; 0 below -87.
INLINE float exponential(float x) {
  const float low = -87.0f, high = 88.0f;
  float y = x < low ? low : x;
  y = y > high ? high : y;
  const float shifter = 12582912.0f;  // 1.5·2^23: adding it rounds to a whole number
  const float n = (y * 1.44269504f + shifter) - shifter;
  const float r = (y - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.0f / 5040.0f;
  p = p * r + 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const float scale = bits_of<float>((int32_t(n) + 127) << 23);
  const float e = p * scale;
  return x < low ? 0.0f : x > high ? INFINITY : e;
}

// ln x for positive normal x: x = 2^n·m with m in [√½, √2), and 2·artanh((m - 1)/(m + 1)) as a series.
INLINE float logarithm(float x) {
  const int32_t bits = bits_of<int32_t>(x);
  const int32_t n = (bits - 0x3f3504f3) >> 23;
  const float m = bits_of<float>(bits - (n << 23));
  const float s = (m - 1.0f) / (m + 1.0f), z = s * s;
  float p = 1.0f / 11.0f;
  p = p * z + 1.0f / 9.0f;
  p = p * z + 1.0f / 7.0f;
  p = p * z + 1.0f / 5.0f;
  p = p * z + 1.0f / 3.0f;
  p = p * z + 1.0f;
  return float(n) * 0.693147181f + 2.0f * s * p;
}

// x^y for x >= 1.
INLINE float power(float x, float y) { return exponential(y * logarithm(x)); }

// tanh x: a series of odd powers where |x| < 0.35, (1 - e)/(1 + e) with e = exp(-2|x|) elsewhere.
INLINE float tangent(float x) {
  const float z = x * x;
  float p = -0.00886323552990220f;
  p = p * z + 0.0218694885361552f;
  p = p * z - 0.0539682539682540f;
  p = p * z + 0.133333333333333f;
  p = p * z - 0.333333333333333f;
  const float near = x + x * z * p;
  const float e = exponential(-2.0f * std::fabs(x));
  const float far = std::copysign((1.0f - e) / (1.0f + e), x);
  return std::fabs(x) < 0.35f ? near : far;
}

struct Float32 {
  using Stored = float;
  static inline float load(float x) { return x; }
  static inline float store(float x) { return x; }
  static constexpr float one = 1.0f;
};

struct BFloat16 {
  using Stored = uint16_t;
  static inline float load(uint16_t x) { return bits_of<float>(uint32_t(x) << 16); }
  static inline uint16_t store(float x) {  // to the nearest, ties to even
    const uint32_t bits = bits_of<uint32_t>(x);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return uint16_t(x != x ? 0x7fc0u : rounded);
  }
  static constexpr uint16_t one = 0x3f80;
};

struct Float16 {
  using Stored = uint16_t;
  static inline float load(uint16_t x) {
    const uint32_t magnitude = uint32_t(x & 0x7fffu) << 13, signs = uint32_t(x & 0x8000u) << 16;
    const float scaled = bits_of<float>(magnitude) * bits_of<float>(0x77800000u);  // times 2^112
    const uint32_t special = magnitude | 0x7f800000u;                              // infinity or NaN
    return bits_of<float>((magnitude >= 0x0f800000u ? special : bits_of<uint32_t>(scaled)) | signs);
  }
  static inline uint16_t store(float x) {  // to the nearest, ties to even
    const uint32_t bits = bits_of<uint32_t>(x), signs = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    // below 2^-14: adding ½ leaves the subnormal's bits at the end of the sum, rounded
    const uint32_t tiny = bits_of<uint32_t>(bits_of<float>(magnitude) + 0.5f) - 0x3f000000u;
    const uint32_t normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    const uint32_t large = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
    const uint32_t half = magnitude < 0x38800000u ? tiny : magnitude >= 0x477ff000u ? large : normal;
    return uint16_t(half | signs);
  }
  static constexpr uint16_t one = 0x3c00;
};
