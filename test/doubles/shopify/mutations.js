// The mutations that are not about products or stock, and the list of all: name -> (args, context, info) -> payload.
'use strict';

const { numberOf } = require('./store.js');

const mutations = {
	...require('./products.js').mutations,
	...require('./inventory.js').mutations,
	...require('./media.js').mutations,
	bulkOperationRunQuery: (args, { bulk }) => bulk.startQuery(args),
	bulkOperationRunMutation: (args, { bulk }) => bulk.startMutation(args),
	stagedUploadsCreate: ({ input }, { uploads }) => uploads.create(input),
	bulkOperationCancel: ({ id }, { bulk }) => bulk.cancel(numberOf(id, 'BulkOperation')),
	webhookSubscriptionCreate: ({ topic, webhookSubscription }, { webhooks }) => webhooks.create(topic, webhookSubscription),
	webhookSubscriptionUpdate: ({ id, webhookSubscription }, { webhooks }) => webhooks.update(id, webhookSubscription),
	webhookSubscriptionDelete: ({ id }, { webhooks }) => webhooks.delete(id),
};

module.exports = { mutations };
