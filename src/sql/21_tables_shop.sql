-- The tables of the shop's side, as the third step of sync_install(): the shop's mirror, what both sides last agreed on, conflicts and
-- the rules that decide them, webhooks.  Ordinary tables like those of the first step.
CREATE FUNCTION sync.install_step_3() RETURNS void
LANGUAGE plpgsql AS $install$
BEGIN
	ALTER TYPE sync.run_kind ADD VALUE IF NOT EXISTS 'shopify_down';
	ALTER TYPE sync.run_kind ADD VALUE IF NOT EXISTS 'shopify_up';
	ALTER TYPE sync.run_kind ADD VALUE IF NOT EXISTS 'rollback';
	-- open: waits for a person.  resolved: a person chose, the next merge carries it out.  superseded: the values moved on.
	-- converged: both sides came to agree by themselves.
	CREATE TYPE sync.conflict_state AS ENUM ('open', 'resolved', 'applied', 'superseded', 'converged');
	CREATE TYPE sync.conflict_choice AS ENUM ('local', 'shopify', 'custom');

	-- The shop's mirror --------------------------------------------------------------------------------------------------------

	CREATE TABLE sync.shopify_shop (
		connection text PRIMARY KEY REFERENCES sync.connection ON UPDATE CASCADE ON DELETE CASCADE,
		shop_id bigint,
		domain text,
		currency text,
		scopes text[],
		api_version text,
		token_expires_at timestamptz,
		token_renew_at timestamptz,
		checked_at timestamptz
	);
	COMMENT ON TABLE sync.shopify_shop IS 'What is known of a shop as a whole, read from it now and then.';
	COMMENT ON COLUMN sync.shopify_shop.api_version IS 'The version that answered last, by its header X-Shopify-API-Version.';
	COMMENT ON COLUMN sync.shopify_shop.token_expires_at IS 'When the token that the client-credentials grant gave ends; null for a permanent token.';

	CREATE TABLE sync.shopify_location (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		connection text NOT NULL REFERENCES sync.connection ON UPDATE CASCADE ON DELETE CASCADE,
		remote_id bigint NOT NULL,
		name text NOT NULL,
		active boolean NOT NULL DEFAULT true,
		store text,
		seen_at timestamptz NOT NULL DEFAULT now(),
		UNIQUE (connection, remote_id)
	);
	COMMENT ON TABLE sync.shopify_location IS 'The shop''s locations, and which store of the ERP each of them is.';
	COMMENT ON COLUMN sync.shopify_location.store IS 'The ERP''s store whose stock this location sells; set it here. Stock of a location without one is the shop''s own business.';

	CREATE TABLE sync.shopify_product (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		connection text NOT NULL REFERENCES sync.connection ON UPDATE CASCADE ON DELETE CASCADE,
		remote_id bigint NOT NULL,
		handle text,
		document jsonb NOT NULL CHECK (jsonb_typeof(document) = 'object'),
		variants jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(variants) = 'object'),
		remote_updated_at timestamptz NOT NULL,
		seen_at timestamptz NOT NULL DEFAULT now(),
		crawl_id bigint,
		gone_since timestamptz,
		gone_evidence text,
		merge_due boolean NOT NULL DEFAULT true,
		rejected_links bigint[] NOT NULL DEFAULT '{}',
		UNIQUE (connection, remote_id)
	) WITH (fillfactor = 90);
	CREATE INDEX shopify_product_merge_due_idx ON sync.shopify_product (connection, id) WHERE merge_due;
	COMMENT ON TABLE sync.shopify_product IS 'Mirror of the shop''s products: the newest that was seen of each.';
	COMMENT ON COLUMN sync.shopify_product.remote_id IS 'The number in gid://shopify/Product/NUMBER.';
	COMMENT ON COLUMN sync.shopify_product.document IS 'The product as a document, its variants by Shopify''s number of each, with sku inside.';
	COMMENT ON COLUMN sync.shopify_product.variants IS 'By Shopify''s number of each variant: sku, inventory_item, tracked, policy (deny, continue), position.';
	COMMENT ON COLUMN sync.shopify_product.crawl_id IS 'The newest complete reading that saw it.';
	COMMENT ON COLUMN sync.shopify_product.gone_since IS 'No longer in the shop since then, as gone_evidence says: webhook, event, full_read, lookup.';
	COMMENT ON COLUMN sync.shopify_product.merge_due IS 'What was seen has not been compared with the catalogue yet.';
	COMMENT ON COLUMN sync.shopify_product.rejected_links IS 'Products of the catalogue that a person said this is not.';

	CREATE TABLE sync.shopify_stock (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		connection text NOT NULL REFERENCES sync.connection ON UPDATE CASCADE ON DELETE CASCADE,
		inventory_item_id bigint NOT NULL,
		location_id bigint NOT NULL,
		available integer,
		remote_updated_at timestamptz,
		seen_at timestamptz NOT NULL DEFAULT now(),
		UNIQUE (connection, inventory_item_id, location_id)
	) WITH (fillfactor = 80);
	COMMENT ON TABLE sync.shopify_stock IS 'Mirror of the shop''s stock: what is available of an inventory item at a location.';
	COMMENT ON COLUMN sync.shopify_stock.location_id IS 'Shopify''s number of the location: remote_id of sync.shopify_location.';

	CREATE TABLE sync.shopify_crawl (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		connection text NOT NULL REFERENCES sync.connection ON UPDATE CASCADE ON DELETE CASCADE,
		run_id bigint,
		mode text NOT NULL CHECK (mode IN ('full', 'delta')),
		updated_since timestamptz,
		cursor text,
		page_size integer,
		bulk_id bigint,
		file text,
		file_bytes bigint,
		pages bigint NOT NULL DEFAULT 0,
		products bigint NOT NULL DEFAULT 0,
		changed bigint NOT NULL DEFAULT 0,
		rejected bigint NOT NULL DEFAULT 0,
		first_reject text,
		unusable bigint[] NOT NULL DEFAULT '{}',
		newest timestamptz,
		watermark timestamptz,
		events_since timestamptz,
		chain bigint NOT NULL DEFAULT 0,
		expected bigint,
		loads integer NOT NULL DEFAULT 0,
		wanted bigint[] NOT NULL DEFAULT '{}',
		started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
		read_at timestamptz,
		finished_at timestamptz,
		complete boolean NOT NULL DEFAULT false,
		error text
	);
	CREATE INDEX shopify_crawl_connection_idx ON sync.shopify_crawl (connection, id);
	COMMENT ON TABLE sync.shopify_crawl IS 'Each reading of a shop, by pages of what changed or whole by a bulk operation. Only a complete one moves the watermark, only a complete full one is evidence that something is gone.';
	COMMENT ON COLUMN sync.shopify_crawl.watermark IS 'By the shop''s clock: every change up to then is in the mirror. Set when the reading is complete.';
	COMMENT ON COLUMN sync.shopify_crawl.newest IS 'The newest change that was seen, by the shop''s clock.';
	COMMENT ON COLUMN sync.shopify_crawl.events_since IS 'Deletions are known up to then.';
	COMMENT ON COLUMN sync.shopify_crawl.chain IS 'Products that the present chain of cursors has given: Shopify ends one after 25,000.';
	COMMENT ON COLUMN sync.shopify_crawl.expected IS 'Products that a bulk operation''s result holds.';
	COMMENT ON COLUMN sync.shopify_crawl.loads IS 'How often the result was loaded: its lines do not survive a crash.';
	COMMENT ON COLUMN sync.shopify_crawl.wanted IS 'Products that are yet to be read one by one, since a page cut them short or an event says that they are gone.';
	COMMENT ON COLUMN sync.shopify_crawl.rejected IS 'Products, and lines that belong to no product, that could not be used; first_reject says why the first was.';
	COMMENT ON COLUMN sync.shopify_crawl.unusable IS 'Products that are in the shop and could not be used, by Shopify''s numbers: they stay here as they were.';
	COMMENT ON COLUMN sync.shopify_crawl.read_at IS 'When the last page was read, or the result was loaded.';
	COMMENT ON COLUMN sync.shopify_crawl.bulk_id IS 'The number in gid://shopify/BulkOperation/NUMBER.';

	CREATE UNLOGGED TABLE sync.shopify_bulk_line (
		crawl_id bigint NOT NULL,
		line bigint NOT NULL,
		kind text NOT NULL,
		owner_id bigint NOT NULL,
		parent text,
		node jsonb NOT NULL
	);
	CREATE INDEX shopify_bulk_line_owner_idx ON sync.shopify_bulk_line (crawl_id, owner_id);
	COMMENT ON TABLE sync.shopify_bulk_line IS 'Lines of a bulk operation''s result while they are put together to products; empty otherwise.';
	COMMENT ON COLUMN sync.shopify_bulk_line.owner_id IS 'Shopify''s number of the product that the line belongs to, whatever its depth.';

	-- What both sides agreed on ------------------------------------------------------------------------------------------------

	CREATE TABLE sync.product_listing (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		connection text NOT NULL REFERENCES sync.connection ON UPDATE CASCADE ON DELETE CASCADE,
		product_id bigint NOT NULL REFERENCES sync.product ON DELETE CASCADE,
		remote_id bigint NOT NULL,
		base jsonb NOT NULL DEFAULT '{}',
		base_local jsonb NOT NULL DEFAULT '{}',
		sent jsonb NOT NULL DEFAULT '{}',
		merged_at timestamptz,
		linked_by text NOT NULL DEFAULT 'product_sync',
		linked_at timestamptz NOT NULL DEFAULT now(),
		UNIQUE (product_id, connection),
		UNIQUE (connection, remote_id),
		UNIQUE (id, connection)
	) WITH (fillfactor = 90);
	COMMENT ON TABLE sync.product_listing IS 'A product in a shop: which one it is there, and the base, the values of its own fields that both sides last agreed on.';
	COMMENT ON COLUMN sync.product_listing.base IS 'By path, the shop''s value at the last agreement: a document without variants, in which a missing field is one that was empty.';
	COMMENT ON COLUMN sync.product_listing.base_local IS 'By path, ours, where the agreed values are not the same text: the shop rewrites HTML and moves images.';

	CREATE INDEX product_listing_sent_idx ON sync.product_listing (connection) WHERE sent <> '{}';
	COMMENT ON COLUMN sync.product_listing.sent IS 'By path, what a push sent and has no answer to: value, at, and seen, the shop''s updatedAt before it. Settled by the next merge that has read the product.';

	CREATE TABLE sync.listing (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		connection text NOT NULL,
		product_listing_id bigint NOT NULL,
		variant_id bigint NOT NULL REFERENCES sync.variant ON DELETE CASCADE,
		remote_id bigint NOT NULL,
		inventory_item_id bigint,
		base jsonb NOT NULL DEFAULT '{}',
		base_local jsonb NOT NULL DEFAULT '{}',
		UNIQUE (variant_id, connection),
		UNIQUE (connection, remote_id),
		FOREIGN KEY (product_listing_id, connection) REFERENCES sync.product_listing (id, connection) ON UPDATE CASCADE ON DELETE CASCADE
	) WITH (fillfactor = 90);
	CREATE INDEX listing_product_listing_id_idx ON sync.listing (product_listing_id);
	CREATE INDEX listing_inventory_item_idx ON sync.listing (connection, inventory_item_id);
	COMMENT ON TABLE sync.listing IS 'A variant in a shop: Shopify''s numbers of it, and the base of its fields.';
	COMMENT ON COLUMN sync.listing.remote_id IS 'The number in gid://shopify/ProductVariant/NUMBER.';

	CREATE TABLE sync.stock_level (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		connection text NOT NULL,
		variant_id bigint NOT NULL,
		location_id bigint NOT NULL,
		erp numeric,
		erp_seen_at timestamptz,
		local numeric,
		base numeric,
		sent numeric,
		sent_seen timestamptz,
		agreed_at timestamptz,
		UNIQUE (variant_id, location_id, connection),
		FOREIGN KEY (variant_id, connection) REFERENCES sync.listing (variant_id, connection) ON UPDATE CASCADE ON DELETE CASCADE
	) WITH (fillfactor = 80);
	COMMENT ON TABLE sync.stock_level IS 'Stock of a variant at a location of a shop: ours, and the base that both sides last agreed on. The shop''s own is in sync.shopify_stock.';
	COMMENT ON COLUMN sync.stock_level.erp IS 'What the ERP said last of the store that is this location: on hand less reserved.';
	COMMENT ON COLUMN sync.stock_level.sent IS 'What a push sent and has no answer to; sent_seen is when the shop had changed the level before it.';
	COMMENT ON COLUMN sync.stock_level.local IS 'What we hold to be available: the ERP''s, or what a merge or a person decided since.';

	-- Rules, decisions, conflicts ----------------------------------------------------------------------------------------------

	CREATE TABLE sync.conflict_rule (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		name text NOT NULL UNIQUE CHECK (name <> ''),
		field text NOT NULL,
		connection text REFERENCES sync.connection ON UPDATE CASCADE ON DELETE CASCADE,
		vendor text,
		product_type text,
		action text NOT NULL,
		parameters jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(parameters) = 'object'),
		priority integer NOT NULL DEFAULT 0,
		enabled boolean NOT NULL DEFAULT true,
		note text,
		updated_by text,
		updated_at timestamptz NOT NULL DEFAULT now()
	);
	COMMENT ON TABLE sync.conflict_rule IS 'Thresholds and priorities of the conflict decision tree, for people to edit. sync_simulate_rule() says what a change would have done.';

	CREATE TABLE sync.decision_log (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		decided_at timestamptz NOT NULL DEFAULT clock_timestamp(),
		connection text NOT NULL,
		product_id bigint,
		variant_id bigint,
		path text NOT NULL,
		field text NOT NULL,
		base_value jsonb,
		local_value jsonb,
		shopify_value jsonb,
		context jsonb NOT NULL DEFAULT '{}',
		outcome text NOT NULL,
		value jsonb,
		rule text NOT NULL,
		reason text NOT NULL,
		run_id bigint
	);
	CREATE INDEX decision_log_decided_at_idx ON sync.decision_log (decided_at);
	CREATE INDEX decision_log_product_id_idx ON sync.decision_log (product_id, id);
	COMMENT ON TABLE sync.decision_log IS 'Each disagreement that was decided, by a rule or by handing it to a person: inputs, formula, outcome.';

	CREATE TABLE sync.conflict (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		connection text NOT NULL,
		product_id bigint NOT NULL,
		variant_id bigint,
		location_id bigint,
		title text,
		sku text,
		path text NOT NULL,
		field text NOT NULL,
		local_value jsonb,
		shopify_value jsonb,
		base_value jsonb,
		rule text NOT NULL,
		reason text NOT NULL,
		state sync.conflict_state NOT NULL DEFAULT 'open',
		choice sync.conflict_choice,
		custom_value jsonb,
		note text,
		decided_by text,
		decided_how text,
		decided_at timestamptz,
		run_id bigint,
		created_at timestamptz NOT NULL DEFAULT now(),
		closed_at timestamptz
	);
	CREATE UNIQUE INDEX conflict_open_idx ON sync.conflict (connection, product_id, path) WHERE state IN ('open', 'resolved');
	CREATE INDEX conflict_product_id_idx ON sync.conflict (product_id, id);
	CREATE INDEX conflict_state_idx ON sync.conflict (state, id) WHERE state IN ('open', 'resolved');
	COMMENT ON TABLE sync.conflict IS 'Fields on which the shop and the catalogue disagree and which a person has to decide. Set choice, or call sync_resolve().';
	COMMENT ON COLUMN sync.conflict.choice IS 'local, shopify, or custom with custom_value: edit it here.';
	COMMENT ON COLUMN sync.conflict.rule IS 'The rule that handed it to a person; reason has its formula with the numbers in it.';
	COMMENT ON COLUMN sync.conflict.path IS 'The field: title, variants[SKU].price; stock as variants[SKU].stock[location number].';

	CREATE TABLE sync.field_lock (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		product_id bigint NOT NULL REFERENCES sync.product ON DELETE CASCADE,
		path text NOT NULL CHECK (path <> ''),
		kind text NOT NULL DEFAULT 'lock' CHECK (kind IN ('lock', 'freeze')),
		reason text,
		created_by text NOT NULL DEFAULT session_user,
		created_at timestamptz NOT NULL DEFAULT now(),
		UNIQUE (product_id, path)
	);
	COMMENT ON TABLE sync.field_lock IS 'Fields that nothing overwrites by itself: locked by a person, or frozen because their value went back and forth. Delete the row to let go.';
	COMMENT ON COLUMN sync.field_lock.path IS 'A path, in which * stands for anything: title, variants[*].price, * for the whole product.';

	-- Webhooks -----------------------------------------------------------------------------------------------------------------

	CREATE TABLE sync.webhook_event (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		connection text,
		webhook_id text,
		event_id text,
		topic text,
		domain text,
		remote_id bigint,
		triggered_at timestamptz,
		received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
		body_bytes bigint NOT NULL DEFAULT 0,
		outcome text NOT NULL CHECK (outcome IN ('enqueued', 'duplicate', 'ignored', 'refused')),
		reason text,
		more bigint NOT NULL DEFAULT 0
	) WITH (fillfactor = 90);
	CREATE UNIQUE INDEX webhook_event_id_idx ON sync.webhook_event (connection, webhook_id) WHERE outcome IN ('enqueued', 'ignored');
	CREATE INDEX webhook_event_received_at_idx ON sync.webhook_event (received_at);
	CREATE INDEX webhook_event_refused_idx ON sync.webhook_event (received_at) WHERE outcome IN ('refused', 'duplicate');
	COMMENT ON TABLE sync.webhook_event IS 'Each webhook that arrived, and what became of it. Bodies are not kept: a webhook is a hint to read the product again.';

	COMMENT ON COLUMN sync.webhook_event.more IS 'How many more were refused or repeated about then that got no row of their own.';

	CREATE TABLE sync.webhook_subscription (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		connection text NOT NULL REFERENCES sync.connection ON UPDATE CASCADE ON DELETE CASCADE,
		topic text NOT NULL,
		remote_id bigint,
		uri text NOT NULL,
		verified_at timestamptz,
		error text,
		UNIQUE (connection, topic)
	);
	COMMENT ON TABLE sync.webhook_subscription IS 'The subscriptions that the shop should have, and when it was last seen to have them: Shopify removes those that failed for four hours.';

	ALTER TABLE sync.rate_limit ADD COLUMN points_available numeric, ADD COLUMN points_maximum numeric, ADD COLUMN points_per_second numeric,
		ADD COLUMN points_at timestamptz;
	COMMENT ON COLUMN sync.rate_limit.points_available IS 'Shopify''s cost bucket as the last answer told it, less what was reserved since; at points_at.';

	-- Versions: small rows with few indexes, since there are many of them ----------------------------------------------------------

	-- A version has the number of the staging entry that it applied, so the primary key is what keeps an entry from being applied twice.
	-- Those without an entry count downwards from -1.
	ALTER TABLE sync.product_version DROP CONSTRAINT product_version_pkey, ALTER COLUMN id DROP IDENTITY,
		DROP CONSTRAINT product_version_kind_check, ADD CHECK (kind ~ '^[a-z_]{1,30}$');
	CREATE SEQUENCE sync.product_version_id_seq INCREMENT BY -1 OWNED BY sync.product_version.id;
	UPDATE sync.product_version v SET id = coalesce(v.staging_id, nextval('sync.product_version_id_seq'));
	ALTER TABLE sync.product_version ADD PRIMARY KEY (id), DROP COLUMN staging_id;
	CREATE INDEX product_version_run_id_idx ON sync.product_version USING brin (run_id) WITH (pages_per_range = 32, autosummarize = on);
	COMMENT ON TABLE sync.product_version IS 'One row for each accepted change of a product, by whom and from where. Read it with sync_as_of(), sync_diff() and sync_blame(), or sync.product_change.';
	COMMENT ON COLUMN sync.product_version.id IS 'That of the staging entry that was applied, which makes applying twice impossible; negative where there was none, as of an edit by hand.';
	COMMENT ON COLUMN sync.product_version.kind IS 'create, update, manual (an edit by hand), rollback.';
	COMMENT ON COLUMN sync.product_version.document IS 'The whole product as it is with this version: on version 1 and every version_snapshot_every-th.';
	COMMENT ON COLUMN sync.product_version.changes IS 'By path [before, after], with a third element where a field has a rule, a conflict or a person of its own. sync.product_change shows a row a field.';
	COMMENT ON COLUMN sync.product_version.source IS 'The connection that the change came from; of an edit by hand how it was made; rollback.';
	COMMENT ON COLUMN sync.product_version.approved_by IS 'The person who approved it, or edited by hand; null where nobody had to: product_sync itself.';
	COMMENT ON COLUMN sync.product_version.approved_at IS 'When that person said yes; null where that was when the version was made, at created_at.';

	COMMENT ON COLUMN sync.staging.flags IS 'unknown_to_erp, inactive_in_erp, shared_match, split_match, link_contradicted, new_variant, sku_taken, stale, audit, gone_in_shop, changed_since, variant_removed: what a reviewer should look at.';
	-- A rollback is a run of no connection: it neither waits for the runs of one nor keeps them waiting.
	ALTER TABLE sync.run ALTER COLUMN connection DROP NOT NULL;
	ALTER TABLE sync.staging ALTER COLUMN connection DROP NOT NULL;
END
$install$;
