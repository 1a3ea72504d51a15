//===- Upload.cpp - Large copies to a card --------------------------------===//

#include "cuda/Upload.h"

#include <algorithm>
#include <cstring>

using namespace sparse::runtime::cuda;

Upload::Upload(std::shared_ptr<const Card> card)
    : staging(card, 2 * chunk), streams{Stream(card), Stream(card)} {}

void Upload::add(Address to, const uint8_t *host, uint64_t bytes) {
  for (uint64_t done = 0; done < bytes;) {
    uint64_t now = std::min(chunk, bytes - done);
    // Each buffer has its own stream, so that waiting for one does not wait for
    // the other.
    Stream &stream = streams[turn];
    uint8_t *buffer = staging.data() + turn * chunk;
    stream.synchronize();
    std::memcpy(buffer, host + done, now);
    Card::Use use(*stream.card);
    stream.enqueued();
    stream.note(stream.driver.copyToDevice(to + done, buffer, now,
                                           stream.get()),
                "cannot copy the weights to the device");
    done += now;
    turn = 1 - turn;
  }
}

void Upload::finish() {
  for (Stream &stream : streams) {
    stream.synchronize();
    stream.throwIfFailed();
  }
}
