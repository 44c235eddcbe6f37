/* OpenSSL 3's EVP_MAC, as far as SQLCipher computes its pages' HMAC with it, by the HMAC_CTX that AWS-LC has. Should AWS-LC
 * get an EVP_MAC of its own, this does not compile any more, and can go. */
#ifndef GODWIT_EVP_MAC_H
#define GODWIT_EVP_MAC_H

#include <string.h>

#include <openssl/digest.h>
#include <openssl/hmac.h>

typedef struct godwit_evp_mac_st EVP_MAC;
typedef HMAC_CTX EVP_MAC_CTX;

typedef struct {
  const char *key;
  unsigned int data_type;
  const char *data;
  size_t data_size;
  size_t return_size;
} OSSL_PARAM;

#define OSSL_PARAM_UTF8_STRING 4
#define OSSL_PARAM_END \
  { NULL, 0, NULL, 0, 0 }

/* There is one, without state: its address stands for it. */
static inline EVP_MAC *EVP_MAC_fetch(void *library, const char *algorithm, const char *properties) {
  static const char the_hmac[] = "HMAC";
  (void)library;
  (void)properties;
  return strcmp(algorithm, the_hmac) == 0 ? (EVP_MAC *)the_hmac : NULL;
}

static inline void EVP_MAC_free(EVP_MAC *mac) { (void)mac; }

static inline EVP_MAC_CTX *EVP_MAC_CTX_new(EVP_MAC *mac) { return mac == NULL ? NULL : HMAC_CTX_new(); }

static inline void EVP_MAC_CTX_free(EVP_MAC_CTX *ctx) { HMAC_CTX_free(ctx); }

/* `params` holds exactly the digest's name. */
static inline int EVP_MAC_init(EVP_MAC_CTX *ctx, const unsigned char *key, size_t key_len, const OSSL_PARAM *params) {
  const EVP_MD *digest = NULL;
  if (params->key != NULL && strcmp(params->key, "digest") == 0) {
    digest = EVP_get_digestbyname(params->data);
  }
  return digest != NULL && HMAC_Init_ex(ctx, key, key_len, digest, NULL);
}

static inline int EVP_MAC_update(EVP_MAC_CTX *ctx, const unsigned char *data, size_t data_len) {
  return HMAC_Update(ctx, data, data_len);
}

/* Without a place to write to it says how much it would write. */
static inline int EVP_MAC_final(EVP_MAC_CTX *ctx, unsigned char *out, size_t *out_len, size_t out_size) {
  unsigned int written = 0;
  if (out == NULL) {
    *out_len = HMAC_size(ctx);
    return 1;
  }
  if (out_size < HMAC_size(ctx) || !HMAC_Final(ctx, out, &written)) {
    return 0;
  }
  *out_len = written;
  return 1;
}

#endif
