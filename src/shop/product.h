/*
 * product.h
 *	  The nodes that make a product.
 */
#ifndef SHOP_PRODUCT_H
#define SHOP_PRODUCT_H

#include "shop/node.h"

typedef struct NodeList
{
	JsonbContainer **nodes;		/* objects */
	int			count;
} NodeList;

typedef struct ShopNodes
{
	JsonbContainer *product;
	NodeList	variants;		/* may have levels of stock in it, as lines of a bulk operation */
	NodeList	media;
	NodeList	metafields;
	JsonbValue	currency;		/* the shop's; jbvNull: not known */
} ShopNodes;

/* Stock of the product's inventory items by location.  NULL with an error in the reader where a level cannot be read. */
extern Jsonb *shop_stock(NodeReader *reader, const ShopNodes *nodes);

#endif
