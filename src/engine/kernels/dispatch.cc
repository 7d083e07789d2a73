#include <string>

#include "engine/kernels/kernels.h"

namespace tradewind::engine {

#if !defined(__x86_64__)
const Kernels* Avx2Kernels() {
  return nullptr;
}
const Kernels* Avx512Kernels() {
  return nullptr;
}
#endif

Result<const Kernels*> SelectKernels(std::string_view name) {
  const Kernels* const avx512 = Avx512Kernels();
  const Kernels* const avx2 = Avx2Kernels();
  const Kernels* const scalar = &ScalarKernels();
  if (name.empty()) {
    return avx512 != nullptr ? avx512 : avx2 != nullptr ? avx2 : scalar;
  }
  for (const Kernels* kernels : {avx512, avx2, scalar}) {
    if (kernels != nullptr && kernels->name == name) {
      return kernels;
    }
  }
  std::string available = "scalar";
  available += avx2 != nullptr ? ", avx2" : "";
  available += avx512 != nullptr ? ", avx512" : "";
  const bool known = name == "avx2" || name == "avx512";
  return Fail(known ? ErrorCode::kUnsupported : ErrorCode::kInvalidArgument,
              "kernels '" + std::string(name) + "' " +
                  (known ? "need a CPU that this is not" : "do not exist") +
                  "; available here: " + available,
              "kernels");
}

std::string CpuFeatures() {
  std::string features;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const auto add = [&](bool has, std::string_view feature) {
    if (has) {
      features.append(features.empty() ? "" : " ").append(feature);
    }
  };
  add(__builtin_cpu_supports("avx2"), "avx2");
  add(__builtin_cpu_supports("fma"), "fma");
  add(__builtin_cpu_supports("f16c"), "f16c");
  add(__builtin_cpu_supports("avx512f"), "avx512f");
  add(__builtin_cpu_supports("avx512bw"), "avx512bw");
  add(__builtin_cpu_supports("avx512dq"), "avx512dq");
  add(__builtin_cpu_supports("avx512vl"), "avx512vl");
  add(__builtin_cpu_supports("avx512vnni"), "avx512vnni");
  add(__builtin_cpu_supports("avx512bf16"), "avx512bf16");
#endif
  return features;
}

}  // namespace tradewind::engine
