// Constants and minimax polynomials (Remez exchange, computed in 200-bit arithmetic and rounded) of
// the vector functions. Each polynomial is listed from the constant term up, with its largest error
// relative to the function it serves.
#pragma once
#include <cstdint>

namespace tg {
namespace TG_ISA {

template <class T>
struct tables;

template <>
struct tables<float> {
  static constexpr int mantissa = 23;
  static constexpr uint32_t bias = 127, root_half_bits = 0x3f3504f3;  // of sqrt(1/2)
  static constexpr float log2_e = 0x1.715476p+0f;
  static constexpr float ln2_high = 0x1.62e4p-1f, ln2_low = 0x1.7f7d1cp-20f;  // n ln2_high is exact
  static constexpr float exp_low = -87.33654f, exp_high = 88.72283f;  // normal results in between
  static constexpr float exp2_low = -126, exp2_high = 128;
  static constexpr float tiny = 0x1p-26f;  // x + x^2 rounds to x
  // As f * these is computed in two parts, the high parts are short.
  static constexpr float per_ln2_high = 0x1.714p+0f, per_ln2_low = 0x1.47652cp-12f;
  static constexpr float per_ln10_high = 0x1.bcap-2f, per_ln10_low = 0x1.7b1526p-14f;
  static constexpr float log10_2_high = 0x1.344p-2f, log10_2_low = 0x1.3509f8p-18f;
  static constexpr uint32_t high_bits = 0xfffff000;  // 12 bits of mantissa
  static constexpr uint32_t half_bits = 0xfffff000;
  static constexpr float erfcx_center = 2.5f, erfc_zero = 9.3f;  // zero from there on

  // (e^r - 1 - r) / r^2 for |r| <= ln 2 / 2, relative to e^r - 1: 2^-26.2
  static constexpr float exp[] = {0.5f, 0.16666542f, 0.0416662805f, 0.00836664531f, 0.00139465218f};
  // (2^r - 1) / r for |r| <= 1/2: 2^-28.9
  static constexpr float exp2[] = {0.693147182f,   0.240226477f,   0.0555033237f,
                                   0.00961843692f, 0.00133988739f, 0.000153533707f};
  // (log((1 + s) / (1 - s)) / s - 2) / s^2 in s^2 <= 0.02945: 2^-29.2
  static constexpr float log[] = {0.666667759f, 0.399775237f, 0.298722982f};
  // (tanh(x) / x - 1) / x^2 in x^2 <= 0.625^2: 2^-27.9
  static constexpr float tanh[] = {-0.333332837f, 0.133314908f, -0.0537435003f, 0.0206505917f,
                                   -0.00571704796f};
  // erf(x) / x - 1 in x^2 <= 0.9^2: 2^-31.7
  static constexpr float erf[] = {0.128379166f,   -0.376126349f,    0.112837195f,   -0.0268607531f,
                                  0.00520443544f, -0.000818192086f, 8.53881211e-05f};
  // (1 + x) exp(x^2) erfc(x) in t = (x - c) / (x + c), 0 <= x <= 9.5: 2^-27.2
  static constexpr float erfcx[] = {
      0.737822294f,  -0.247046739f,    0.0763447583f,   0.0162981283f,   -0.0315287337f,
      0.0143844131f, -0.000820555957f, -0.00174383412f, 0.000283277855f, 0.000209055142f};
};

template <>
struct tables<double> {
  static constexpr int mantissa = 52;
  static constexpr uint64_t bias = 1023, root_half_bits = 0x3fe6a09e667f3bcd;
  static constexpr double log2_e = 0x1.71547652b82fep+0;
  static constexpr double ln2_high = 0x1.62e42fefa38p-1, ln2_low = 0x1.ef35793c7673p-45;
  static constexpr double exp_low = -708.3964185322641, exp_high = 709.782712893384;
  static constexpr double exp2_low = -1022, exp2_high = 1024;
  static constexpr double tiny = 0x1p-55;
  static constexpr double per_ln2_high = 0x1.71547652p+0, per_ln2_low = 0x1.705fc2eefa2p-33;
  static constexpr double per_ln10_high = 0x1.bcb7b152p-2, per_ln10_low = 0x1.b9438ca9aadd5p-36;
  static constexpr double log10_2_high = 0x1.34413509f78p-2, log10_2_low = 0x1.fef311f12b358p-46;
  static constexpr uint64_t high_bits = 0xffffffff00000000;  // 21 bits of mantissa
  static constexpr uint64_t half_bits = 0xfffffffff8000000;  // 26 bits of mantissa
  static constexpr double erfcx_center = 4, erfc_zero = 26.6;
  // pi / 2 in three parts; multiples below 2^20 of the first two are exact.
  static constexpr double half_pi_1 = 0x1.921fb544p+0, half_pi_2 = 0x1.0b4611a6p-34;
  static constexpr double half_pi_3 = 0x1.3198a2e037073p-69;

  // (e^r - 1 - r) / r^2 for |r| <= ln 2 / 2, relative to e^r - 1: 2^-55.6
  static constexpr double exp[] = {0.50000000000000056,    0.16666666666666685,
                                   0.041666666666572948,   0.0083333333333144109,
                                   0.0013888888932615661,  0.00019841269903448305,
                                   2.4801504145091347e-05, 2.7557227559611793e-06,
                                   2.7626451762494667e-07, 2.5114603768965629e-08};
  // (2^r - 1) / r for |r| <= 1/2: 2^-58.0
  static constexpr double exp2[] = {
      0.69314718055994529,    0.2402265069591013,     0.055504108664820084,
      0.0096181291075941137,  0.0013333558146774286,  0.00015403530457118979,
      1.5252733493366359e-05, 1.3215435279393386e-06, 1.0178199493004035e-07,
      7.0737836874425205e-09, 4.4347810724442916e-10};
  // (log((1 + s) / (1 - s)) / s - 2) / s^2 in s^2 <= 0.02945: 2^-58.5
  static constexpr double log[] = {0.66666666666667351, 0.39999999999413111, 0.28571428742779575,
                                   0.2222219852921844,  0.18183566784303221, 0.15313983586897423,
                                   0.14796657917504186};
  // (tanh(x) / x - 1) / x^2 in x^2 <= 0.625^2: 2^-61.3
  static constexpr double tanh[] = {
      -0.33333333333333315,   0.13333333333329889,     -0.053968253966134451,
      0.021869488470655746,   -0.008863234341534668,   0.003592114271619071,
      -0.0014557276189096958, 0.00058945863160173343,  -0.00023703014784441827,
      9.1589850175806783e-05, -3.0218016606709888e-05, 6.0556562476120767e-06};
  // erf(x) / x - 1 in x^2 <= 0.9^2: 2^-60.5
  static constexpr double erf[] = {
      0.12837916709551259,     -0.37612638903183732,    0.1128379167095382,
      -0.026866170644828817,   0.0052239776218205546,   -0.00085483267673563664,
      0.00012055321486232513,  -1.4925309927681509e-05, 1.6455364178524008e-06,
      -1.6276852561939151e-07, 1.4053176152004096e-08,  -8.4977990375499405e-10};
  // (1 + x) exp(x^2) erfc(x) in t = (x - c) / (x + c), 0 <= x <= 26.7: 2^-56.8
  static constexpr double erfcx[] = {
      0.68499728812530691,     -0.19934458280036721,    0.11704966551044235,
      -0.048080381221291241,   0.0039620556812989399,   0.015312509678700592,
      -0.017515654646809427,   0.012161784762996302,    -0.0060687352145657354,
      0.002116421492505067,    -0.00038976754153377183, -6.0136270651614247e-05,
      6.4033102121560559e-05,  -1.3152849923063093e-05, -4.1399881479467749e-06,
      2.6539123994372527e-06,  8.1654367179847851e-09,  -3.6873241582112101e-07,
      4.4781925074173593e-08,  4.9658410733887628e-08,  -5.6302599253901302e-09,
      -5.9020825992371951e-09, -6.1693419436416046e-10};
  // (sin(r) / r - 1) / r^2 in r^2 <= (pi / 4)^2: 2^-58.0
  static constexpr double sin[] = {-0.16666666666666632,    0.0083333333333223698,
                                   -0.00019841269829770964, 2.7557313678533595e-06,
                                   -2.5050755935602876e-08, 1.5896664840268473e-10};
  // (cos(r) - 1 + r^2 / 2) / r^4 in r^2 <= (pi / 4)^2: 2^-64.2
  static constexpr double cos[] = {0.041666666666666602,   -0.0013888888888874062,
                                   2.4801587289442821e-05, -2.755731434070701e-07,
                                   2.0875721655790232e-09, -1.1359561907029821e-11};
};

}  // namespace TG_ISA
}  // namespace tg
