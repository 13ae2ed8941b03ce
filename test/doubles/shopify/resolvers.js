// What each field of Shopify's schema gives, from the store.  Two tables: FIELDS (type -> field -> (source, args, context) -> value)
// and CONNECTIONS (the same, giving all rows; pages, `nodes` and `edges` are made here).  The bulk operations use the same tables, so
// that they tell the same as queries do.  A field that is in the schema and in neither table fails loudly with NOT_IN_DOUBLE.
//
// A variant and its inventory item are one object in the store: the type of the field that asks says which of both is meant.
'use strict';

const { graphql, VERSION, scopesOf } = require('./schema.js');
const { gid, numberOf, isoTime, QUANTITIES } = require('./store.js');
const { matcher, page, ORDERS } = require('./search.js');

const { GraphQLError } = graphql;

const available = (v) => v.levels.reduce((sum, l) => sum + (l.location.isActive ? l.available : 0), 0);
const plain = (html) => html.replace(/<[^>]*>/g, ' ').replace(/&lt;/g, '<').replace(/&gt;/g, '>').replace(/&quot;/g, '"').replace(/&amp;/g,
	'&')
	.replace(/\s+/g, ' ').trim();
const count = (n, limit) => ({ count: limit ? Math.min(n, limit) : n, precision: limit && n > limit ? 'AT_LEAST' : 'EXACT' });
const as = (type, source) => source && Object.assign(Object.create(source), { __typename: type, origin: source });
const origin = (source) => source.origin || source;
const created = (s) => isoTime(s.created);
const metafield = (owner, { namespace = 'custom', key }) => origin(owner).metafields.find((m) => m.namespace === namespace && m.key === key)
	|| null;
const moneyV2 = (amount, { options }) => (amount === null ? null
	: { amount: amount.replace(/(\.\d)0$/, '$1'), currencyCode: options.currency });

// A stock level's parts are its own objects only while they are looked at.
function levelQuantities(level, { names }) {
	return names.map((name) => {
		if (!QUANTITIES.includes(name))
			throw new GraphQLError(`The specified quantity name is invalid. Valid values are: ${QUANTITIES.join(', ')}.`,
				{ extensions: { code: 'INVALID_FIELD_ARGUMENTS' } });
		return { level, name };
	});
}

// The object of a gid, for node() and nodes().
function node(id, { store, bulk, webhooks }) {
	const type = (/^gid:\/\/shopify\/([A-Za-z]+)\//.exec(id) || [])[1], n = numberOf(id);
	switch (type) {
		case 'Product': return as(type, store.products.get(n)) || null;
		case 'ProductVariant': return as(type, store.variants.get(n)) || null;
		case 'InventoryItem': return as(type, store.items.get(n)) || null;
		case 'Location': return as(type, store.locations.get(n)) || null;
		case 'InventoryLevel': return as(type, levelOf(id, store)) || null;
		case 'MediaImage': return store.files.get(n) || null;
		case 'BulkOperation': return as(type, bulk.find(n)) || null;
		case 'WebhookSubscription': return as(type, webhooks.find(n)) || null;
		case undefined: throw new GraphQLError(`Invalid global id '${id}'`, { extensions: { code: 'argumentLiteralsIncompatible' } });
		default: return null;
	}
}

function levelOf(id, store) {
	const item = store.items.get(Number((/inventory_item_id=(\d+)/.exec(id) || [])[1]));
	const location = store.locations.get(numberOf(id, 'InventoryLevel') - LEVEL);
	return (item && location && store.level(item, location)) || null;
}

const LEVEL = 40000000000;      // an inventory level's own number is that of its location, moved
const levelGid = (l) => `${gid('InventoryLevel', l.location.id + LEVEL)}?inventory_item_id=${l.item.itemId}`;

const mediaErrors = (m, a, { store }) => (store.mediaStatus(m) !== 'FAILED' ? [] : [{ code: 'IMAGE_DOWNLOAD_FAILURE',
	details: `Image download failed: ${m.source}`, message: 'Media could not be created because the image could not be downloaded.' }]);

const METAFIELDS = { metafield };

const FIELDS = {
	QueryRoot: {
		shop: (_, a, c) => c.options,
		product: (_, { id }, { store }) => store.product(id) || null,
		productByIdentifier: (_, { identifier }, { store }) => store.findProduct(identifier) || null,
		productVariant: (_, { id }, { store }) => store.variant(id) || null,
		inventoryItem: (_, { id }, { store }) => store.item(id) || null,
		inventoryLevel: (_, { id }, { store }) => levelOf(id, store),
		location: (_, { id }, { store }) => (id ? store.location(id) : store.locations.values().next().value) || null,
		node: (_, { id }, c) => node(id, c),
		nodes: (_, { ids }, c) => ids.map((id) => node(id, c)),
		productsCount: (_, { query, limit }, c) => count(query ? productRows(c, query, 'productsCount').length : c.store.products.size,
			limit),
		productVariantsCount: (_, { limit }, c) => count(c.store.variants.size, limit),
		bulkOperation: (_, { id }, { bulk }) => bulk.find(numberOf(id, 'BulkOperation')) || null,
		currentBulkOperation: (_, { type }, { bulk }) => bulk.newest(type),
		publicApiVersions: () => [{ handle: VERSION, displayName: `${VERSION} (Latest)`, supported: true },
			{ handle: 'unstable', displayName: 'unstable', supported: false }],
		currentAppInstallation: () => ({}),
		job: (_, { id }) => ({ id, done: true }),
	},
	Shop: {
		id: (o) => gid('Shop', o.shop_id), name: (o) => o.shop_name, email: () => 'shop@example.com', currencyCode: (o) => o.currency,
			myshopifyDomain: (o) => o.shop_domain,
		weightUnit: (o) => o.weight_unit, ianaTimezone: () => 'Etc/UTC', timezoneOffset: () => '+0000', timezoneOffsetMinutes: () => 0,
		timezoneAbbreviation: () => 'UTC', url: (o) => `https://${o.shop_domain}`,
			primaryDomain: (o) => ({ host: o.shop_domain, url: `https://${o.shop_domain}` }),
		taxesIncluded: () => false, plan: () => ({ displayName: 'Basic', partnerDevelopment: false, shopifyPlus: false,
			publicDisplayName: 'Basic' }),
	},
	AppInstallation: {
		id: () => gid('AppInstallation', 500001), app: () =>
			({ id: gid('App', 300001), title: 'product_sync', handle: 'product-sync', apiKey: 'client' }),
		accessScopes: (_, a, { options }) => options.scopes.map((handle) => ({ handle, description: handle })),
	},
	Product: {
		...METAFIELDS,
		id: (p) => gid('Product', p.id), legacyResourceId: (p) => String(p.id), title: (p) => p.title, handle: (p) => p.handle,
		descriptionHtml: (p) => p.descriptionHtml, bodyHtml: (p) => p.descriptionHtml,
		description: (p, { truncateAt }) => (truncateAt ? plain(p.descriptionHtml).slice(0, truncateAt) : plain(p.descriptionHtml)),
		vendor: (p) => p.vendor, productType: (p) => p.productType, status: (p) => p.status, tags: (p) => p.tags,
			templateSuffix: (p) => p.templateSuffix,
		seo: (p) => p.seo, createdAt: created, updatedAt: (p) => isoTime(p.updated),
			publishedAt: (p) => (p.status === 'ACTIVE' && p.published ? isoTime(p.published) : null),
		options: (p, { first }) => (first ? p.options.slice(0, first) : p.options),
		totalInventory: (p) => p.variants.reduce((sum, v) => sum + (v.tracked ? available(v) : 0), 0),
			tracksInventory: (p) => p.variants.some((v) => v.tracked),
		hasOnlyDefaultVariant: (p) => p.variants.length === 1 && p.options[0].name === 'Title',
			hasOutOfStockVariants: (p) => p.variants.some((v) => v.tracked && available(v) <= 0),
		variantsCount: (p) => count(p.variants.length), totalVariants: (p) => p.variants.length, mediaCount: (p) => count(p.media.length),
		featuredMedia: (p) => p.media[0] || null, featuredImage: (p) => p.media[0] || null, isGiftCard: () => false,
			giftCardTemplateSuffix: () => null,
		requiresSellingPlan: () => false, category: () => null,
			onlineStoreUrl: (p, a, { options }) => (p.status === 'ACTIVE' ? `https://${options.shop_domain}/products/${p.handle}` : null),
		defaultCursor: (p) => Buffer.from(JSON.stringify({ last_id: p.id, last_value: String(p.id) })).toString('base64'),
		publishedOnPublication: (p, { publicationId }) => p.publications.includes(numberOf(publicationId)),
		resourcePublicationsCount: (p) => count(p.publications.length),
	},
	ProductVariant: {
		...METAFIELDS,
		id: (v) => gid('ProductVariant', v.id), legacyResourceId: (v) => String(v.id), sku: (v) => v.sku, barcode: (v) => v.barcode,
			price: (v) => v.price,
		compareAtPrice: (v) => v.compareAtPrice, title: (v) => v.values.map((x) => x.name).join(' / '), position: (v) => v.position,
		displayName: (v) => `${v.product.title} - ${v.values.map((x) => x.name).join(' / ')}`, taxable: (v) => v.taxable,
			inventoryPolicy: (v) => v.inventoryPolicy,
		inventoryQuantity: (v) => available(v), availableForSale: (v) => !v.tracked || v.inventoryPolicy === 'CONTINUE' || available(v) > 0,
		sellableOnlineQuantity: (v) => available(v), inventoryItem: (v) => v, product: (v) => v.product, createdAt: created,
			updatedAt: (v) => isoTime(v.updated),
		selectedOptions: (v) => v.values.map((value, k) => ({ name: v.product.options[k].name, value: value.name, optionValue: value })),
		image: (v) => v.product.media.find((m) => m.id === v.mediaId) || null, requiresComponents: () => false, taxCode: () => null,
			showUnitPrice: () => false,
		unitPrice: () => null, unitPriceMeasurement: () => null,
			defaultCursor: (v) => Buffer.from(JSON.stringify({ last_id: v.id, last_value: String(v.id) })).toString('base64'),
	},
	InventoryItem: {
		id: (v) => gid('InventoryItem', v.itemId), legacyResourceId: (v) => String(v.itemId), sku: (v) => v.sku, tracked: (v) => v.tracked,
		trackedEditable: () => ({ locked: false, reason: null }), requiresShipping: (v) => v.requiresShipping,
			unitCost: (v, a, c) => moneyV2(v.cost, c),
		countryCodeOfOrigin: (v) => v.country, provinceCodeOfOrigin: () => null, harmonizedSystemCode: (v) => v.harmonised,
			measurement: (v) => v,
		inventoryLevel: (v, { locationId }, { store }) => store.level(origin(v), store.location(locationId)) || null,
			locationsCount: (v) => count(v.levels.length),
		variant: (v) => v, createdAt: created, updatedAt: (v) => isoTime(v.itemUpdated), duplicateSkuCount: () => 0,
			inventoryHistoryUrl: () => null,
	},
	InventoryItemMeasurement: { id: (v) => gid('InventoryItemMeasurement', v.itemId), weight: (v) => v.weight },
	InventoryLevel: {
		id: levelGid, location: (l) => l.location, item: (l) => l.item, quantities: levelQuantities, createdAt: created,
			updatedAt: (l) => isoTime(l.updated),
		isActive: () => true, canDeactivate: (l) => l.item.levels.length > 1, deactivationAlert: () => null,
	},
	InventoryQuantity: {
		id: ({ level, name }) =>
			`${gid('InventoryQuantity', level.location.id + LEVEL)}?inventory_item_id=${level.item.itemId}&name=${name}`,
		name: (q) => q.name, quantity: (q, a, { store }) => store.quantity(origin(q.level), q.name),
			updatedAt: ({ level }) => isoTime(level.updated),
	},
	Location: {
		id: (l) => gid('Location', l.id), legacyResourceId: (l) => String(l.id), name: (l) => l.name, isActive: (l) => l.isActive,
			activatable: () => true,
		deactivatable: () => true, deletable: () => false, fulfillsOnlineOrders: () => true, hasActiveInventory: () => true,
			shipsInventory: () => true,
		isFulfillmentService: () => false, isPrimary: (l, a, { store }) => l === store.locations.values().next().value, createdAt: created,
			updatedAt: (l) => isoTime(l.updated),
		inventoryLevel: (l, { inventoryItemId }, { store }) => { const item = store.item(inventoryItemId); return (item
			&& store.level(item, origin(l))) || null; },
	},
	Metafield: {
		id: (m) => gid('Metafield', m.id), legacyResourceId: (m) => String(m.id), namespace: (m) => m.namespace, key: (m) => m.key,
			value: (m) => m.value, type: (m) => m.type,
		jsonValue: (m) => { try { return /string|text/.test(m.type) ? m.value : JSON.parse(m.value); } catch (error) { return m.value; } },
		compareDigest: (m, a, { store }) => store.digest(m), sizeInBytes: (m) => Buffer.byteLength(m.value), createdAt: created,
			updatedAt: (m) => isoTime(m.updated),
		definition: () => null, description: () => null,
		ownerType: (m) => (m.owner.variants ? 'PRODUCT' : 'PRODUCTVARIANT'),
			owner: (m) => as(m.owner.variants ? 'Product' : 'ProductVariant', m.owner),
	},
	MediaImage: {
		id: (m) => gid('MediaImage', m.id), alt: (m) => m.alt, mediaContentType: () => 'IMAGE',
		status: (m, a, { store }) => store.mediaStatus(m), fileStatus: (m, a, { store }) => store.mediaStatus(m),
		image: (m, a, { store }) => (store.mediaStatus(m) === 'READY' ? m : null), createdAt: created, updatedAt: (m) => isoTime(m.updated),
		mediaErrors: mediaErrors, mediaWarnings: () => [], fileErrors: mediaErrors, mimeType: () => 'image/jpeg',
		preview: (m, a, { store }) => ({ status: store.mediaStatus(m), image: store.mediaStatus(m) === 'READY' ? m : null }),
		originalSource: (m) => ({ url: m.source, fileSize: 1000 }),
	},
	Image: { id: (m) => gid('ImageSource', m.id), altText: (m) => m.alt || null, url: (m) => m.url, src: (m) => m.url,
		originalSrc: (m) => m.url, width: () => 800, height: () => 800 },
	ProductOption: {
		id: (o) => gid('ProductOption', o.id), name: (o) => o.name, position: (o) => o.position, values: (o) => o.values.map((v) => v.name),
		optionValues: (o) => o.values, linkedMetafield: () => null,
	},
	ProductOptionValue: { id: (v) => gid('ProductOptionValue', v.id), name: (v) => v.name, hasVariants: () => true,
		linkedMetafieldValue: () => null, swatch: () => null },
	BasicEvent: {
		id: (e) => gid('BasicEvent', e.id), action: (e) => e.action, subjectType: (e) => e.subjectType,
			subjectId: (e) => gid('Product', e.subjectId), createdAt: created,
		message: (e) => e.message, appTitle: (e) => (e.app ? 'product_sync' : null), attributeToApp: (e) => e.app,
			attributeToUser: (e) => !e.app, criticalAlert: () => false,
		author: (e) => e.author, arguments: () => [], subject: () => null, hasAdditionalContent: () => false, additionalContent: () => null,
			additionalData: () => null,
	},
	BulkOperation: {
		id: (b) => gid('BulkOperation', b.id), status: (b) => b.status, type: (b) => b.type, errorCode: (b) => b.errorCode,
			query: (b) => b.query,
		createdAt: created, completedAt: (b) => (b.completed ? isoTime(b.completed) : null), objectCount: (b) => String(b.objectCount),
			rootObjectCount: (b) => String(b.rootObjectCount),
		fileSize: (b) => (b.fileSize ? String(b.fileSize) : null), url: (b) => b.url, partialDataUrl: (b) => b.partialDataUrl,
	},
	WebhookSubscription: {
		id: (w) => gid('WebhookSubscription', w.id), legacyResourceId: (w) => String(w.id), topic: (w) => w.topic, uri: (w) => w.uri,
			callbackUrl: (w) => w.uri,
		format: (w) => w.format, filter: (w) => w.filter, includeFields: (w) => w.includeFields,
			metafieldNamespaces: (w) => w.metafieldNamespaces, name: (w) => w.name,
		createdAt: created, updatedAt: (w) => isoTime(w.updated),
			apiVersion: () => ({ handle: VERSION, displayName: VERSION, supported: true }),
		endpoint: (w) => ({ __typename: 'WebhookHttpEndpoint', callbackUrl: w.uri }), metafields: () => [],
	},
	Publication: { id: (p) => gid('Publication', p.id), name: (p) => p.name, autoPublish: () => true, supportsFuturePublishing: () => false,
		catalog: () => null },
	InventoryAdjustmentGroup: { id: (g) => gid('InventoryAdjustmentGroup', g.id), createdAt: created,
		app: () => ({ id: gid('App', 300001), title: 'product_sync' }), staffMember: () => null },
	InventoryChange: { location: (c) => c.level.location, item: (c) => c.level.item },
};

// ---- connections ---------------------------------------------------------------------------------------------------------------

// All products that match, as the search index sees them when there is a query.
function productRows(context, query, field = 'products', path = [field], type = 'QueryRoot', kind = 'product') {
	const { store } = context;
	store.catchUp();
	const { test, terms } = matcher(kind, type, field, query, context, path);
	const wanted = terms.length === 1 && terms[0].field === 'id' && !terms[0].comparator
		? [store.products.get(numberOf(terms[0].value) || Number(terms[0].value))] : null;
	const rows = [];
	for (const p of wanted || store.products.values())
		if (p && p.indexed !== null && test(p.indexed || p))
			rows.push(p);
	return rows;
}

// The products in the order of a sort key, kept until the shop changes: a full pull asks for it page by page.
function sortedProducts(store, key) {
	const known = store.sortedLists.get(key);
	if (known && known.version === store.version)
		return known.rows;
	const order = ORDERS.product[key];
	const keyed = [...store.products.values()].map((p) => [order.value(p), p]);
	keyed.sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : a[1].id - b[1].id));
	const rows = keyed.map((k) => k[1]);
	store.sortedLists.set(key, { version: store.version, rows });
	return rows;
}

// All levels of a location, in the order of their items; kept like the products.
function levelsAt(store, location) {
	const known = store.sortedLists.get(location);
	if (known && known.version === store.version)
		return known.rows;
	const rows = [];
	for (const v of store.variants.values())
		for (const l of v.levels)
			if (l.location === location)
				rows.push(l);
	rows.sort((a, b) => a.item.itemId - b.item.itemId);
	store.sortedLists.set(location, { version: store.version, rows });
	return rows;
}

// Each: kind of its rows (for search and order), all rows of a source, and the order when no sortKey is an argument.
const own = (kind, rows, order = null) => ({ kind, rows, order });
const CONNECTIONS = {
	QueryRoot: {
		products: { kind: 'product' },
		productVariants: own('variant', (_, { store }) => [...store.variants.values()], 'ID'),
		inventoryItems: own('item', (_, { store }) => [...store.items.values()], 'ID'),
		locations: own('location', (_, { store }, args) => [...store.locations.values()].filter((l) => l.isActive || args.includeInactive),
			'NAME'),
		publications: own('publication', (_, { store }) => store.publications, 'ID'),
		events: own('event', (_, { store }) => store.events, 'ID'),
		bulkOperations: own('bulk', (_, { bulk }) => bulk.operations, 'CREATED_AT'),
		webhookSubscriptions: own('webhook', (_, { webhooks }, args) =>
			webhooks.subscriptions.filter((w) => (!args.topics || args.topics.includes(w.topic))
			&& (!args.uri || args.uri === w.uri)), 'CREATED_AT'),
	},
	Product: {
		variants: own('variant', (p) => p.variants), media: own('media', (p) => p.media), 
			images: own('media', (p, { store }) => p.media.filter((m) => store.mediaStatus(m) === 'READY')),
		metafields: own('metafield', metafieldRows), events: own('event',
			(p, { store }) => store.events.filter((e) => e.subjectId === p.id), 'ID'),
		collections: own('publication', () => []), resourcePublicationsV2: own('publication',
			(p, { store }) => store.publications.filter((x) => p.publications.includes(x.id))
			.map((x) => ({ id: x.id, publication: x, isPublished: true, publishDate: isoTime(p.created) }))),
	},
	ProductVariant: { metafields: own('metafield', metafieldRows),
		media: own('media', (v) => v.product.media.filter((m) => m.id === v.mediaId)) },
	InventoryItem: { inventoryLevels: own('level', (v) => v.levels, 'ID'), variants: own('variant', (v) => [origin(v)]),
		countryHarmonizedSystemCodes: own('metafield', () => []) },
	Location: { inventoryLevels: own('level', (l, { store }) => levelsAt(store, origin(l)), 'ID'), metafields: own('metafield', () => []) },
};

function metafieldRows(owner, context, { namespace, keys }) {
	return origin(owner).metafields.filter((m) => (!namespace || m.namespace === namespace)
		&& (!keys || keys.includes(namespace ? m.key : `${m.namespace}.${m.key}`) || keys.includes(`${m.namespace}.${m.key}`)));
}

// All rows of a connection that match args.query, and their order.
function rowsOf(type, field, source, args, context, path) {
	const found = CONNECTIONS[type][field];
	const key = args.sortKey || found.order;
	let order = key ? ORDERS[found.kind][key] : null;
	if (key && order === undefined)
		throw new GraphQLError(`The double does not sort ${type}.${field} by ${key}`, { extensions: { code: 'NOT_IN_DOUBLE' } });
	if (found.kind === 'product') {
		if (!args.query)
			return { rows: args.reverse ? [...sortedProducts(context.store, key)].reverse() : sortedProducts(context.store, key), order,
				sorted: true };
		const seen = order;
		order = { ...seen, value: (p) => seen.value(p.indexed || p) };
		return { rows: productRows(context, args.query, field, path), order };
	}
	if (type === 'Product' && field === 'variants' && key === 'POSITION')
		order = null;
	let rows = found.rows(source, context, args);
	if (args.query)
		rows = rows.filter(matcher(found.kind, type, field, args.query, context, path).test);
	return { rows, order };
}

// ---- how fields are resolved ---------------------------------------------------------------------------------------------------

// Throws where a test denies a field (options.denied), or where the app lacks the scope of a mutation.
function checkAccess(type, field, { options }) {
	let needed = options.denied[`${type}.${field}`] && `\`${options.denied[`${type}.${field}`]}\` access scope.`;
	if (!needed && type === 'Mutation') {
		const { text, alternatives } = scopesOf(field);
		if (!alternatives.some((scopes) => scopes.every((scope) => options.scopes.includes(scope))))
			needed = text;
	}
	if (needed)
		throw new GraphQLError(`Access denied for ${field} field. Required access: ${needed}`,
			{ extensions: { code: 'ACCESS_DENIED', documentation: 'https://shopify.dev/api/usage/access-scopes', requiredAccess: needed } });
}

// Runs a mutation; who made its effects is known by context.mutation meanwhile.
function mutate(name, args, context, info) {
	const [node] = info.fieldNodes;
	const directive = (node.directives || []).find((d) => d.name.value === 'idempotent');
	const value = directive && directive.arguments[0].value;
	context.mutation = { mutation: name, alias: node.alias ? node.alias.value : null,
		key: value ? (value.kind === 'Variable' ? info.variableValues[value.name.value] : value.value) : null };
	return context.mutations[name](args, context, info);
}

function resolve(source, args, context, info) {
	const type = info.parentType.name, field = info.fieldName;
	checkAccess(type, field, context);
	if (CONNECTIONS[type] && CONNECTIONS[type][field]) {
		const { rows, order, sorted } = rowsOf(type, field, source, args, context, graphql.responsePathAsArray(info.path));
		return page(rows, args, CONNECTIONS[type][field].kind, order, sorted);
	}
	const given = FIELDS[type] && FIELDS[type][field];
	if (given)
		return given(source, args, context);
	if (source && field in source)
		return typeof source[field] === 'function' ? source[field](args, context, info) : source[field];
	if (type === 'Mutation' && context.mutations[field])
		return mutate(field, args, context, info);
	throw new GraphQLError(`The double does not know ${type}.${field}`, { extensions: { code: 'NOT_IN_DOUBLE' } });
}

const typeOf = (value) => value.__typename;

module.exports = { FIELDS, CONNECTIONS, resolve, rowsOf, typeOf, checkAccess, levelOf };
