// CRC-32C (Castagnoli): the checksum of iSCSI (RFC 3720, appendix B.4), for what lies on disks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tradewind {

// Of `bytes` behind what `crc` is of: Crc32c(b, Crc32c(a)) == Crc32c(a + b). By the CPU's own
// instruction where it has one.
uint32_t Crc32c(std::span<const std::byte> bytes, uint32_t crc = 0);

namespace internal {
uint32_t Crc32cByTable(std::span<const std::byte> bytes, uint32_t crc);  // the slow twin
}

}  // namespace tradewind
