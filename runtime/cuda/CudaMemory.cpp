//===- CudaMemory.cpp - Memory of a card ----------------------------------===//

#include "cuda/CudaMemory.h"
#include "Checked.h"
#include "Status.h"

#include <algorithm>
#include <cstring>

using namespace sparse::runtime;
using namespace sparse::runtime::cuda;

static Address addressOf(const void *pointer) {
  return static_cast<Address>(reinterpret_cast<uintptr_t>(pointer));
}

static AllocationProperties propertiesOf(const Card &card) {
  AllocationProperties properties = {};
  properties.type = 1;
  properties.location = {1, card.ordinal};
  return properties;
}

CudaMemory::CudaMemory(std::shared_ptr<const Card> card)
    : stream(card), driver(card->driver) {
  Card::Use use(*card);
  AllocationProperties properties = propertiesOf(*card);
  size_t least = 0;
  check(driver, driver.granularity(&least, &properties, 0),
        "cannot ask for the granularity of memory");
  granule = least;
}

CudaMemory::~CudaMemory() {
  // Uploads may be on their way.
  stream.synchronize();
}

//===----------------------------------------------------------------------===//
// Ranges
//===----------------------------------------------------------------------===//

void *CudaMemory::reserve(size_t bytes, bool) {
  Card::Use use(*stream.card);
  Address address = 0;
  if (driver.addressReserve(&address, bytes, granule, 0, 0) != success)
    return nullptr;
  reservations[address].resize(bytes / granule);
  return reinterpret_cast<void *>(static_cast<uintptr_t>(address));
}

/// The granules of the reservation that `address` lies in.
std::vector<bool> &CudaMemory::mappedOf(Address address, size_t &first) {
  auto it = std::prev(reservations.upper_bound(address));
  first = (address - it->first) / granule;
  return it->second;
}

bool CudaMemory::commit(void *pointer, size_t bytes) {
  if (stream.failed())
    return false;
  Card::Use use(*stream.card);
  Address address = addressOf(pointer);
  size_t first = 0;
  std::vector<bool> &mapped = mappedOf(address, first);
  AllocationProperties properties = propertiesOf(*stream.card);
  std::vector<size_t> fresh;
  Result result = success;
  for (size_t i = 0; i < bytes / granule && result == success; ++i) {
    if (mapped[first + i])
      continue;
    Handle handle = 0;
    result = driver.memCreate(&handle, granule, &properties, 0);
    if (result != success)
      break;
    result = driver.memMap(address + i * granule, granule, 0, handle, 0);
    // A mapping keeps its memory; it goes when it is unmapped.
    driver.memRelease(handle);
    if (result == success)
      fresh.push_back(i);
  }
  // Neighbours become accessible, and zero, in one call.
  AccessDescriptor access = {properties.location, 3};
  for (size_t i = 0; i < fresh.size() && result == success;) {
    size_t run = 1;
    while (i + run < fresh.size() && fresh[i + run] == fresh[i] + run)
      ++run;
    Address begin = address + fresh[i] * granule;
    result = driver.memSetAccess(begin, run * granule, &access, 1);
    if (result == success)
      result = driver.set8(begin, 0, run * granule, stream.get());
    stream.enqueued();
    i += run;
  }
  if (result != success) {
    stream.synchronize();
    for (size_t i : fresh)
      driver.memUnmap(address + i * granule, granule);
    if (result != errorOutOfMemory)
      stream.note(result, "cannot map memory");
    return false;
  }
  for (size_t i : fresh)
    mapped[first + i] = true;
  return true;
}

void CudaMemory::unmap(Address address, std::vector<bool> &mapped, size_t first,
                       size_t count) {
  // Nothing may be on its way to or from the memory.
  stream.synchronize();
  for (size_t i = 0; i < count; ++i)
    if (mapped[first + i]) {
      driver.memUnmap(address + i * granule, granule);
      mapped[first + i] = false;
    }
}

void CudaMemory::decommit(void *pointer, size_t bytes) {
  Card::Use use(*stream.card);
  size_t first = 0;
  std::vector<bool> &mapped = mappedOf(addressOf(pointer), first);
  unmap(addressOf(pointer), mapped, first, bytes / granule);
}

void CudaMemory::release(void *pointer, size_t bytes) {
  Card::Use use(*stream.card);
  Address address = addressOf(pointer);
  auto it = reservations.find(address);
  unmap(address, it->second, 0, it->second.size());
  reservations.erase(it);
  driver.addressFree(address, bytes);
}

//===----------------------------------------------------------------------===//
// Content
//===----------------------------------------------------------------------===//

void CudaMemory::fill(void *to, Rows rows, const void *element, size_t size) {
  if (stream.failed() || rows.bytes == 0 || rows.count == 0)
    return;
  Card::Use use(*stream.card);
  Address address = addressOf(to);
  uint32_t words[2] = {};
  std::memcpy(words, element, size);
  if (size == 8 && words[0] == words[1])
    size = 4;
  if (rows.count > 1 && rows.pitch == rows.bytes)
    rows = Rows(rows.bytes * rows.count);
  Result result = success;
  uint64_t width = rows.bytes / size;
  if (size == 8) {
    // Two halves, each a column of words.
    for (uint64_t i = 0; i < rows.count && result == success; ++i)
      for (int half = 0; half < 2 && result == success; ++half)
        result = driver.set2D32(address + i * rows.pitch + half * 4, 8,
                                words[half], 1, width, stream.get());
  } else if (rows.count == 1) {
    result = size == 1 ? driver.set8(address, words[0], width, stream.get())
             : size == 2
                 ? driver.set16(address, words[0], width, stream.get())
                 : driver.set32(address, words[0], width, stream.get());
  } else {
    result = size == 1 ? driver.set2D8(address, rows.pitch, words[0], width,
                                       rows.count, stream.get())
             : size == 2 ? driver.set2D16(address, rows.pitch, words[0], width,
                                          rows.count, stream.get())
                         : driver.set2D32(address, rows.pitch, words[0], width,
                                          rows.count, stream.get());
  }
  stream.enqueued();
  stream.note(result, "cannot fill memory");
}

/// Strided rows from host or device to the device.
void CudaMemory::copy2D(int fromKind, const void *from, uint64_t fromPitch,
                        void *to, Rows rows, const char *what) {
  Copy2D copy = {};
  copy.srcType = fromKind;
  if (fromKind == memoryHost)
    copy.srcHost = from;
  else
    copy.srcDevice = addressOf(from);
  copy.dstType = memoryDevice;
  copy.dstDevice = addressOf(to);
  copy.srcPitch = fromPitch;
  copy.dstPitch = rows.pitch;
  copy.width = rows.bytes;
  copy.height = rows.count;
  stream.note(driver.copy2D(&copy, stream.get()), what);
}

void CudaMemory::copy(void *to, const void *from, Rows rows) {
  if (stream.failed() || rows.bytes == 0 || rows.count == 0)
    return;
  Card::Use use(*stream.card);
  const char *what = "cannot copy memory";
  stream.enqueued();
  if (rows.count == 1)
    stream.note(driver.copyOnDevice(addressOf(to), addressOf(from), rows.bytes,
                                    stream.get()),
                what);
  else
    copy2D(memoryDevice, from, rows.pitch, to, rows, what);
}

void CudaMemory::upload(void *to, const void *host, Rows rows) {
  if (stream.failed() || rows.bytes == 0 || rows.count == 0)
    return;
  Card::Use use(*stream.card);
  const char *what = "cannot copy to the device";
  uint64_t pitch = rows.count == 1 ? rows.bytes : rows.pitch;
  // What is not pinned the driver copies itself before it returns, and it may
  // wait for all work before: nothing that a step can afford.
  if (uint8_t *place = stage(rows.bytes * rows.count)) {
    for (uint64_t i = 0; i < rows.count; ++i)
      std::memcpy(place + i * rows.bytes,
                  static_cast<const uint8_t *>(host) + i * pitch, rows.bytes);
    host = place;
    pitch = rows.bytes;
  }
  stream.enqueued();
  if (rows.count == 1)
    stream.note(
        driver.copyToDevice(addressOf(to), host, rows.bytes, stream.get()),
        what);
  else
    copy2D(memoryHost, host, pitch, to, rows, what);
}

uint8_t *CudaMemory::stage(uint64_t bytes) {
  if (!uploads)
    try {
      uploads = std::make_unique<UploadRing>(stream);
    } catch (const Error &) {
      return nullptr; // slower, not wrong
    }
  return uploads->take(bytes);
}

void CudaMemory::download(void *host, const void *from, uint64_t bytes) {
  std::memset(host, 0, bytes);
  if (stream.failed())
    return;
  {
    Card::Use use(*stream.card);
    stream.enqueued();
    stream.note(
        driver.copyToHost(host, addressOf(from), bytes, stream.get()),
        "cannot copy from the device");
  }
  stream.synchronize();
}

void CudaMemory::throwIfFailed() {
  stream.synchronize();
  stream.throwIfFailed();
}

//===----------------------------------------------------------------------===//
// UploadRing
//===----------------------------------------------------------------------===//

UploadRing::UploadRing(Stream &stream)
    : memory(stream.card, partBytes * parts) {
  for (std::unique_ptr<Event> &end : ends)
    end = std::make_unique<Event>(stream);
}

uint8_t *UploadRing::take(uint64_t bytes) {
  if (bytes > partBytes)
    return nullptr;
  if (used + bytes > partBytes) {
    ends[part]->record();
    part = (part + 1) % parts;
    ends[part]->wait();
    used = 0;
  }
  uint8_t *place = memory.data() + part * partBytes + used;
  used += (bytes + 15) / 16 * 16;
  return place;
}

//===----------------------------------------------------------------------===//
// PinnedMemory
//===----------------------------------------------------------------------===//

PinnedMemory::PinnedMemory(std::shared_ptr<const Card> given, uint64_t bytes)
    : card(std::move(given)) {
  Card::Use use(*card);
  void *address = nullptr;
  Result result =
      card->driver.hostAlloc(&address, std::max<uint64_t>(bytes, 64), 0);
  if (result != success)
    fail(Code::ResourceExhausted, "cannot pin %llu bytes of host memory",
         static_cast<unsigned long long>(bytes));
  base = static_cast<uint8_t *>(address);
}

PinnedMemory::~PinnedMemory() {
  Card::Use use(*card);
  card->driver.hostFree(base);
}
