-- The tables of the push to a shop, as the fourth step of sync_install(): what is to be sent, the calls that send it, and each move.
CREATE FUNCTION sync.install_step_4() RETURNS void
LANGUAGE plpgsql AS $install$
BEGIN
	-- sending: approved, and handed to the push; it can no longer be taken back.
	ALTER TYPE sync.staging_state ADD VALUE IF NOT EXISTS 'sending';
	IF NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = 'sync.shopify_crawl'::regclass AND a.attname = 'unusable') THEN
		ALTER TABLE sync.shopify_crawl ADD COLUMN unusable bigint[] NOT NULL DEFAULT '{}';
	END IF;
	IF EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = 'sync.shopify_shop'::regclass AND a.attname = 'paused_reason' AND NOT a.attisdropped) THEN
		ALTER TABLE sync.shopify_shop DROP COLUMN paused_reason;
	END IF;
	-- A shop is read and written at the same time.
	DROP INDEX sync.run_one_active_idx;
	CREATE UNIQUE INDEX run_one_active_idx ON sync.run (connection, kind) WHERE active AND NOT context ?| ARRAY['chosen', 'sending'];
	COMMENT ON COLUMN sync.run.active IS 'Works on the queue now; one at a time for a connection and kind. A run that waits for people is not active.';

	ALTER TABLE sync.product_listing ADD COLUMN base_gone jsonb NOT NULL DEFAULT '{}';
	COMMENT ON COLUMN sync.product_listing.base_gone IS 'By SKU, variants that were deleted here and that the shop still has: their number there (remote) and their base.';

	-- queued: waits to be sent.  checking: in a call, which reads first what the shop has.  sent: the call was committed and went out, and
	-- no answer is here.  retry: to be tried again.  synced, stale, failed and cancelled are ends.
	CREATE TYPE sync.push_state AS ENUM ('queued', 'checking', 'sent', 'retry', 'synced', 'stale', 'failed', 'cancelled');

	CREATE TABLE sync.push_transition (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		from_state sync.push_state NOT NULL,
		to_state sync.push_state NOT NULL,
		meaning text NOT NULL,
		UNIQUE (from_state, to_state)
	);
	COMMENT ON TABLE sync.push_transition IS 'The moves of a push; there are no others.';

	CREATE TABLE sync.push_call (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		connection text NOT NULL REFERENCES sync.connection ON UPDATE CASCADE ON DELETE CASCADE,
		part text NOT NULL CHECK (part IN ('stock', 'edit', 'create')),
		method text NOT NULL DEFAULT 'direct' CHECK (method IN ('direct', 'bulk')),
		step text NOT NULL,
		key uuid NOT NULL DEFAULT gen_random_uuid(),
		request jsonb,
		items integer NOT NULL,
		sending numeric NOT NULL DEFAULT 0,
		checked_at timestamptz,
		sent_at timestamptz,
		file text,
		bulk_id bigint,
		requests integer NOT NULL DEFAULT 0,
		points numeric NOT NULL DEFAULT 0,
		created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
		finished_at timestamptz,
		error jsonb
	);
	CREATE INDEX push_call_open_idx ON sync.push_call (connection, id) WHERE finished_at IS NULL;
	CREATE INDEX push_call_finished_at_idx ON sync.push_call (finished_at);
	COMMENT ON TABLE sync.push_call IS 'Calls to a shop that change it. A row with its key and request is committed before the call goes out, so that after a crash it is known what may have happened.';
	COMMENT ON COLUMN sync.push_call.step IS 'Where it stands: check, send; of a bulk mutation also target, upload, start, poll, get, load; of a new product find, create, publish.';
	COMMENT ON COLUMN sync.push_call.key IS 'Idempotency key: the same for as long as the request is the same.';
	COMMENT ON COLUMN sync.push_call.request IS 'The variables that were sent, as they are sent again when the answer is lost.';
	COMMENT ON COLUMN sync.push_call.sending IS 'Points that its sending is expected to cost.';
	COMMENT ON COLUMN sync.push_call.items IS 'How many changed items it carries: levels of stock, variants, fields of products.';

	CREATE TABLE sync.push (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		connection text NOT NULL REFERENCES sync.connection ON UPDATE CASCADE ON DELETE CASCADE,
		run_id bigint NOT NULL,
		staging_id bigint NOT NULL,
		part text NOT NULL CHECK (part IN ('stock', 'edit', 'create')),
		product_id bigint NOT NULL,
		remote_id bigint,
		variant_id bigint,
		location_id bigint,
		class smallint NOT NULL DEFAULT 2,
		state sync.push_state NOT NULL DEFAULT 'queued',
		wanted jsonb NOT NULL,
		expected jsonb NOT NULL,
		overwrite boolean NOT NULL DEFAULT false,
		alone boolean NOT NULL DEFAULT false,
		call_id bigint,
		place integer,
		attempts integer NOT NULL DEFAULT 0,
		due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
		error jsonb,
		created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
		ended_at timestamptz
	) WITH (fillfactor = 80);
	CREATE INDEX push_waiting_idx ON sync.push (connection, class, id) WHERE state IN ('queued', 'retry');
	CREATE INDEX push_flight_idx ON sync.push (connection, product_id) WHERE ended_at IS NULL;
	CREATE INDEX push_call_idx ON sync.push (call_id, place) WHERE call_id IS NOT NULL;
	CREATE INDEX push_staging_idx ON sync.push (staging_id);
	CREATE INDEX push_ended_at_idx ON sync.push (ended_at);
	COMMENT ON TABLE sync.push IS 'What is on its way to a shop: approved fields of one product, or one level of stock. Its moves are in sync.push_event.';
	COMMENT ON COLUMN sync.push.wanted IS 'By path, what was approved; null takes the field away.';
	COMMENT ON COLUMN sync.push.expected IS 'By path, what the shop had when that was decided: where it has something else by now, nothing is sent.';
	COMMENT ON COLUMN sync.push.alone IS 'It was in a call that was refused as a whole: it goes by itself.';
	COMMENT ON COLUMN sync.push.place IS 'Its number within the call.';
	COMMENT ON COLUMN sync.push.class IS '1 high, 2 normal, 3 batch: a lower class is sent first.';

	CREATE TABLE sync.push_event (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		push_id bigint NOT NULL,
		from_state sync.push_state,
		to_state sync.push_state NOT NULL,
		call_id bigint,
		note text,
		at timestamptz NOT NULL DEFAULT clock_timestamp()
	);
	CREATE INDEX push_event_push_id_idx ON sync.push_event (push_id, id);
	CREATE INDEX push_event_at_idx ON sync.push_event USING brin (at);
	COMMENT ON TABLE sync.push_event IS 'Each move of each push, with why.';
END
$install$;
