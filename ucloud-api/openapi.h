/*
 * The description of the API (OpenAPI 3.0.3), made from the route table and the JSON tables:
 * it cannot say anything else than the code does. Pure.
 */
#ifndef UCLOUD_OPENAPI_H
#define UCLOUD_OPENAPI_H

#include <jansson.h>

#include "ucloud-api/route.h"

/* A new object. */
json_t *openapi_document(const struct route *routes, const char *version);

#endif
