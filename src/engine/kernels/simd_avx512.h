// Sixteen lanes on AVX-512 (F, BW, DQ, VL, VNNI): the names of simd_avx2.h over single registers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <immintrin.h>

namespace tradewind::engine {
namespace {  // each instruction set keeps its own copy: nothing here may be merged by the linker

struct Avx512 {
  using F = __m512;
  using I = __m512i;

  // Columns of an integer tile: 12 sums hide the latency of the dot product (5 cycles, two a
  // cycle), and one weight register serves 12 products.
  static constexpr int kTileColumns = 12;
  static constexpr int kByteTileColumns = 8;
  static constexpr int kDirectColumns = 8;  // of a tile that also opens up its weights
  static constexpr int kFloatRows = 4;
  static constexpr int kFloatColumns = 4;
  static constexpr int kAttentionRows = 12;
  static constexpr int kAttentionSums = 24;

  // --- sixteen floats
  static F Zero() { return _mm512_setzero_ps(); }
  static F Set(float v) { return _mm512_set1_ps(v); }
  static F Load(const float* p) { return _mm512_loadu_ps(p); }
  static F Load(const uint16_t* p) {  // f16
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static void Store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static void StoreHalf(uint16_t* p, F v) {  // round to nearest even
    constexpr int kRound = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, kRound));
  }
  static F Add(F x, F y) { return _mm512_add_ps(x, y); }
  static F Sub(F x, F y) { return _mm512_sub_ps(x, y); }
  static F Mul(F x, F y) { return _mm512_mul_ps(x, y); }
  static F Div(F x, F y) { return _mm512_div_ps(x, y); }
  static F Min(F x, F y) { return _mm512_min_ps(x, y); }
  static F Max(F x, F y) { return _mm512_max_ps(x, y); }
  static F Fma(F x, F y, F z) { return _mm512_fmadd_ps(x, y, z); }    // x * y + z, rounded once
  static F Fnma(F x, F y, F z) { return _mm512_fnmadd_ps(x, y, z); }  // z - x * y, likewise
  static F Round(F x) {  // to the nearest whole number, ties to even
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static F Abs(F x) { return _mm512_abs_ps(x); }
  static F IfGreater(F x, F limit, F yes, F no) {
    return _mm512_mask_mov_ps(no, _mm512_cmp_ps_mask(x, limit, _CMP_GT_OQ), yes);
  }
  static uint32_t GreaterMask(F x, F limit) {  // bit i: lane i of x > limit; not for a NaN
    return _mm512_cmp_ps_mask(x, limit, _CMP_GT_OQ);
  }
  static F IfNan(F x, F yes, F no) {
    return _mm512_mask_mov_ps(no, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), yes);
  }
  // Lanes are added in the order of simd_avx2.h.
  static float Sum(F v) {
    const __m256 eight = _mm256_add_ps(Low(v), High(v));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static float Largest(F v) {  // no NaN among the lanes
    const __m256 eight = _mm256_max_ps(Low(v), High(v));
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }

  static F MaxBits(F x, F y) {  // as int32
    return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(x), _mm512_castps_si512(y)));
  }
  static float LargestBits(F v) {  // as int32
    const __m512i bits = _mm512_castps_si512(v);
    const __m256i eight =
        _mm256_max_epi32(_mm512_castsi512_si256(bits), _mm512_extracti64x4_epi64(bits, 1));
    const __m128i four =
        _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    const __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0xB1))));
  }

  // --- sixteen int32, or thirty-two int16
  static I Load(const void* p) { return _mm512_loadu_si512(p); }
  static void Store(void* p, I v) { _mm512_storeu_si512(p, v); }
  static I SetInt(int32_t v) { return _mm512_set1_epi32(v); }
  static I Broadcast(const void* p) {
    int32_t v;
    __builtin_memcpy(&v, p, sizeof(v));
    return _mm512_set1_epi32(v);
  }
  static I BytesUnsigned(const void* p) {  // 16 x u8
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  static I BytesSigned(const void* p) {  // 16 x s8
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  static I WordsUnsigned(const void* p) {  // 16 x u16
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  }
  static void StoreWords(int16_t* p, I v) {  // int32 -> int16, saturating
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtsepi32_epi16(v));
  }
  static F ToFloat(I v) { return _mm512_cvtepi32_ps(v); }
  static I ToInt(F v) { return _mm512_cvtps_epi32(v); }  // to nearest even
  static F AsFloat(I v) { return _mm512_castsi512_ps(v); }
  static I AddInt(I x, I y) { return _mm512_add_epi32(x, y); }
  static I SubInt(I x, I y) { return _mm512_sub_epi32(x, y); }
  static I SubWords(I x, I y) { return _mm512_sub_epi16(x, y); }  // int16 lanes
  static int32_t SumInt(I v) { return _mm512_reduce_add_epi32(v); }
  static I And(I x, I y) { return _mm512_and_si512(x, y); }
  static I Or(I x, I y) { return _mm512_or_si512(x, y); }
  template <int kBits>
  static I ShiftLeft(I x) {  // int32 lanes
    return _mm512_slli_epi32(x, kBits);
  }
  static I ShiftLeftBy(I x, int bits) {  // int32 lanes
    return _mm512_sll_epi32(x, _mm_cvtsi32_si128(bits));
  }
  template <int kBits>
  static I WordShiftLeft(I x) {  // int16 lanes
    return _mm512_slli_epi16(x, kBits);
  }
  template <int kBits>
  static I WordShiftRight(I x) {  // int16 lanes, zeros come in
    return _mm512_srli_epi16(x, kBits);
  }
  // table[x] for every byte of x below 16
  static I Lookup(const uint8_t* table16, I x) {
    const __m512i table =
        _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table16)));
    return _mm512_shuffle_epi8(table, x);
  }
  // sum + w[2i] * x[2i] + w[2i+1] * x[2i+1] over pairs of int16
  static I MulAddPairs(I sum, I w, I x) { return _mm512_dpwssd_epi32(sum, w, x); }

  // The names of simd_avx2.h; sums are int32 from the start, so any number of steps will do.
  static constexpr int ByteSteps(int) { return 8; }
  static I MulBytes(I codes, I x) { return _mm512_dpbusd_epi32(_mm512_setzero_si512(), codes, x); }
  static I AddBytes(I sums, I codes, I x) { return _mm512_dpbusd_epi32(sums, codes, x); }
  static I Widen(I sums) { return sums; }
  static I WidenTimes256(I sums) { return _mm512_slli_epi32(sums, 8); }
  // 32 numbers q = 256 * high + low; every 8 bytes as c0 c4 c1 c5 c2 c6 c3 c7. Bit i of the result:
  // high bytes 4 i to 4 i + 3 are not all 0.
  static uint8_t SplitBlock(const int16_t* q, int8_t* low, int8_t* high) {
    const __m128i even = _mm_set1_epi64x(0x0E060C040A020800);
    const __m128i odd = _mm_set1_epi64x(0x0F070D050B030901);
    const __m128i round = _mm_set1_epi16(128);
    int zeros = 0;
    for (int half = 0; half < 2; ++half) {
      const auto* const from = reinterpret_cast<const __m128i*>(q + 16 * half);
      const __m128i a = _mm_loadu_si128(from);
      const __m128i b = _mm_loadu_si128(from + 1);
      const __m128i lows = _mm_unpacklo_epi64(_mm_shuffle_epi8(a, even), _mm_shuffle_epi8(b, even));
      const __m128i highs = _mm_unpacklo_epi64(_mm_shuffle_epi8(_mm_add_epi16(a, round), odd),
                                               _mm_shuffle_epi8(_mm_add_epi16(b, round), odd));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(low + 16 * half), lows);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(high + 16 * half), highs);
      const __m128i none = _mm_cmpeq_epi32(highs, _mm_setzero_si128());
      zeros |= _mm_movemask_ps(_mm_castsi128_ps(none)) << 4 * half;
    }
    return static_cast<uint8_t>(~zeros);
  }

  static F ScaleByPowerOfTwo(F p, F n) { return _mm512_scalef_ps(p, n); }

 private:
  static __m256 Low(F v) { return _mm512_castps512_ps256(v); }
  static __m256 High(F v) { return _mm512_extractf32x8_ps(v, 1); }
};

}  // namespace
}  // namespace tradewind::engine
