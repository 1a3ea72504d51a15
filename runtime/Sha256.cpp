//===- Sha256.cpp - Digests of sections -----------------------------------===//

#include "Sha256.h"
#include "Status.h"

#include <openssl/evp.h>

using namespace sparse::runtime;

static EVP_MD_CTX *ctx(void *context) {
  return static_cast<EVP_MD_CTX *>(context);
}

Sha256::Sha256() : context(EVP_MD_CTX_new()) {
  if (!context)
    throw std::bad_alloc();
  if (!EVP_DigestInit_ex(ctx(context), EVP_sha256(), nullptr)) {
    EVP_MD_CTX_free(ctx(context));
    fail(Code::Internal, "libcrypto has no SHA-256");
  }
}

Sha256::~Sha256() { EVP_MD_CTX_free(ctx(context)); }

void Sha256::update(const void *data, size_t bytes) {
  if (!EVP_DigestUpdate(ctx(context), data, bytes))
    fail(Code::Internal, "SHA-256 failed");
}

std::string Sha256::hex() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  if (!EVP_DigestFinal_ex(ctx(context), digest, &length))
    fail(Code::Internal, "SHA-256 failed");
  static const char digits[] = "0123456789abcdef";
  std::string text;
  for (unsigned i = 0; i < length; ++i) {
    text += digits[digest[i] >> 4];
    text += digits[digest[i] & 15];
  }
  return text;
}

std::string sparse::runtime::sha256(const void *data, size_t bytes) {
  Sha256 hash;
  hash.update(data, bytes);
  return hash.hex();
}
