//===- Stream.cpp - The work of one context on a card ---------------------===//

#include "cuda/Stream.h"
#include "Status.h"

using namespace sparse::runtime;
using namespace sparse::runtime::cuda;

static constexpr unsigned nonBlocking = 1;

Stream::Stream(std::shared_ptr<const Card> given)
    : card(std::move(given)), driver(card->driver) {
  Card::Use use(*card);
  check(driver, driver.streamCreate(&stream, nonBlocking),
        "cannot create a stream");
}

Stream::~Stream() {
  Card::Use use(*card);
  driver.streamSynchronize(stream);
  driver.streamDestroy(stream);
}

bool Stream::note(Result result, const char *what) {
  if (result == success)
    return true;
  if (failure.empty())
    failure = card->name + ": " + what + ": " + errorText(driver, result) +
              " (" + cuda::errorName(driver, result) + ")";
  return false;
}

void Stream::throwIfFailed() const {
  if (failed())
    fail(Code::Internal, "%s", failure.c_str());
}

void Stream::synchronize() {
  if (!pending)
    return;
  Card::Use use(*card);
  // After a failure the next call waits again: what was enqueued may still run.
  if (note(driver.streamSynchronize(stream), "work on the device failed"))
    pending = false;
}

// Without times, which would cost.
static constexpr unsigned disableTiming = 2;

Event::Event(Stream &given) : stream(given) {
  Card::Use use(*stream.card);
  check(stream.driver, stream.driver.eventCreate(&event, disableTiming),
        "cannot create an event");
}

Event::~Event() {
  Card::Use use(*stream.card);
  stream.driver.eventDestroy(event);
}

void Event::record() {
  Card::Use use(*stream.card);
  recorded = stream.note(stream.driver.eventRecord(event, stream.get()),
                         "cannot mark a step");
}

void Event::wait() {
  if (!recorded)
    return;
  Card::Use use(*stream.card);
  stream.note(stream.driver.eventSynchronize(event),
              "work on the device failed");
}
