# What must hold at the end of a random test of a shop: both sides agree wherever nothing waits for a person, no edit by a person is lost,
# running again changes nothing, and versions tell it all.
#   ProductSync::Converge->new(sql => sub { ... }, shop => $shop, world => $world, pusher => $pusher, again => sub { ... })->check
# ProductSync::Converge::watch(sub { ... }) comes before everything else.
package ProductSync::Converge;
use strict;
use warnings;
use JSON::PP;
use Test::More;
use ProductSync::Pusher;
use ProductSync::World;

my $json = JSON::PP->new->canonical->allow_nonref->ascii;

sub new { my ($class, %option) = @_; return bless {%option}, $class }

sub check
{
	my ($self) = @_;
	$self->settles;
	$self->takes_down;
	$self->agrees;
	$self->loses_nothing;
	$self->rests;
	$self->tells;
}

# All that is known of a field, in its order.
sub field_story
{
	my ($self, $product, $path) = @_;
	return "product $product, $path:\n" . $self->{sql}->(<<"END") . "\n";
WITH story (at, told) AS (
	SELECT e.at, format('#%s %s sets %s over %s', e.no, e.who, e.value, e.over) FROM public.edit e WHERE e.product_id = $product AND e.path = '$path'
	UNION ALL SELECT c.at, format('version %s: %s to %s, %s %s %s', c.version, c.old_value, c.new_value, c.kind, c.source, c.actor)
	FROM sync.product_change c WHERE c.product_id = $product AND c.path = '$path'
	UNION ALL SELECT g.decided_at, format('decision: base %s, here %s, shop %s: %s %s by %s', g.base_value, g.local_value, g.shopify_value, g.outcome, g.value, g.rule)
	FROM sync.decision_log g WHERE g.product_id = $product AND g.path = '$path'
	UNION ALL SELECT c.created_at, format('conflict %s: here %s, shop %s, %s %s', c.state, c.local_value, c.shopify_value, c.choice, c.custom_value)
	FROM sync.conflict c WHERE c.product_id = $product AND c.path = '$path'
	UNION ALL SELECT coalesce(n.agreed_at, n.erp_seen_at), format('stock: here %s, agreed %s at %s, erp %s at %s, sent %s', n.local, n.base, n.agreed_at, n.erp, n.erp_seen_at, n.sent)
	FROM sync.stock_level n JOIN sync.variant v ON v.id = n.variant_id WHERE v.product_id = $product AND sync.stock_path(v.sku, n.location_id) = '$path'
	UNION ALL SELECT s.seen_at, format('mirror of stock: %s at %s', s.available, s.remote_updated_at)
	FROM sync.shopify_stock s JOIN sync.listing l ON l.connection = s.connection AND l.inventory_item_id = s.inventory_item_id
	JOIN sync.variant v ON v.id = l.variant_id WHERE v.product_id = $product AND sync.stock_path(v.sku, s.location_id) = '$path'
	UNION ALL SELECT x.seen_at, format('ERP: %s', x.available) FROM sync.xorosoft_stock x WHERE '$path' LIKE 'variants[' || x.item_number || '].stock%'
	UNION ALL SELECT l.created_at, 'lock ' || l.path || ' ' || l.kind FROM sync.field_lock l WHERE l.product_id = $product AND '$path' LIKE sync.path_pattern(l.path))
SELECT string_agg(to_char(at, 'MI:SS.MS ') || told, E'\\n' ORDER BY at) FROM story
END
}

sub settles
{
	my ($self) = @_;
	my ($pusher) = @$self{qw(pusher)};

	for (1 .. 10)
	{
		$self->{settle}->();
		last unless $pusher->push;
	}
	is(scalar(keys %{ $pusher->outbox }), 0, 'in the end nothing is left to be sent') or diag $json->encode($pusher->outbox);
	$self->{settle}->();
}

# What the shop has now, as documents with our SKUs, and what people did.
sub takes_down
{
	my ($self) = @_;
	my ($shop, $world) = @$self{qw(shop world)};

	$self->{sql}->('CREATE TABLE public.shop_now (remote_id bigint, document jsonb); CREATE TABLE public.edit (no integer, who text, product_id bigint, path text, value jsonb, over jsonb, at timestamptz)'
		. '; CREATE TABLE public.stock_now (remote_id bigint, sku text, location_id bigint, available numeric)');
	my $all = $shop->all;
	for my $remote (sort { $a <=> $b } keys %$all)
	{
		my $document = ProductSync::World::by_sku($all->{$remote});
		$self->{sql}->("INSERT INTO public.shop_now VALUES ($remote, " . ProductSync::Pusher::literal($document) . ')');
		$self->{sql}->("INSERT INTO public.stock_now VALUES ($remote, '$_', $world->{location}, " . ($shop->stock_known($remote, $_, $world->{location}) // 'NULL') . ')') for sort keys %{ $document->{variants} };
	}
	my $no = 0;
	my $edits = $json->encode([ map { { %$_, no => ++$no } } @{ $world->{edits} } ]);
	$self->{sql}->(<<"END");
INSERT INTO public.edit
SELECT (e ->> 'no')::integer, e ->> 'who', CASE e ->> 'who' WHEN 'hand' THEN (e ->> 'key')::bigint
	   WHEN 'merchant' THEN (SELECT l.product_id FROM sync.product_listing l WHERE l.remote_id = (e ->> 'key')::bigint)
	   ELSE (SELECT v.product_id FROM sync.variant v WHERE v.sku = e ->> 'key') END,
	   e ->> 'path', nullif(e -> 'value', 'null'), nullif(e -> 'over', 'null'), to_timestamp((e ->> 'at')::float8)
FROM jsonb_array_elements(\$j\$$edits\$j\$) e;
END
}

# Whether somebody has a reason to leave a field as it is: it waits for a person, or is locked or frozen.
sub agrees
{
	my ($self) = @_;

	$self->{sql}->(<<'END');
CREATE FUNCTION public.waits(of_product bigint, of_path text) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT EXISTS (SELECT FROM sync.conflict c WHERE c.product_id = of_product AND c.path = of_path AND c.state IN ('open', 'resolved'))
		OR EXISTS (SELECT FROM sync.field_lock l WHERE l.product_id = of_product AND of_path LIKE sync.path_pattern(l.path))
		OR EXISTS (SELECT FROM sync.staging s JOIN sync.staging_field f ON f.staging_id = s.id
				   WHERE s.product_id = of_product AND (s.state = 'open' OR f.decision = 'rejected' AND s.connection = 'shop') AND (f.path = of_path OR starts_with(of_path, f.path || '.')))
$$;
END
	my $apart = $self->{sql}->(<<'END');
SELECT format('product %s (%s) %s: %s here, %s in the shop, %s agreed', l.product_id, n.remote_id, d.path, d.local_value, d.shop_value,
	coalesce(sync.document_get(l.base, d.path), (SELECT sync.document_get(jsonb_build_object('variants', jsonb_object_agg(v.sku, i.base)), d.path) FROM sync.listing i JOIN sync.variant v ON v.id = i.variant_id WHERE i.product_listing_id = l.id)))
FROM public.shop_now n JOIN sync.product_listing l ON l.remote_id = n.remote_id
CROSS JOIN LATERAL sync.document_merge(NULL, NULL, sync.product_document(l.product_id), n.document) d
WHERE d.status <> 'converged' AND NOT public.waits(l.product_id, d.path)
ORDER BY 1
END
	is($apart, '', 'both sides agree on every field that waits for nobody');
	is($self->{sql}->('SELECT remote_id FROM public.shop_now n WHERE NOT EXISTS (SELECT FROM sync.product_listing l WHERE l.remote_id = n.remote_id)'
		. " AND NOT EXISTS (SELECT FROM sync.staging s WHERE s.connection = 'shop' AND s.evidence ->> 'remote_id' = n.remote_id::text AND s.state IN ('open', 'rejected'))"),
		'', 'and every product of the shop is one of the catalogue, or waits for a person');
	my $uneven = $self->{sql}->(<<'END');
SELECT format('%s at %s: %s here, %s in the shop, %s agreed, erp %s', n.sku, n.location_id, k.local, n.available, k.base, k.erp)
FROM public.stock_now n JOIN sync.variant v ON v.sku = n.sku
LEFT JOIN sync.stock_level k ON k.variant_id = v.id AND k.location_id = n.location_id
WHERE (k.local IS DISTINCT FROM n.available OR k.base IS DISTINCT FROM n.available) AND NOT public.waits(v.product_id, sync.stock_path(v.sku, n.location_id))
END
	is($uneven, '', 'and on all stock');
}

# Notes from the beginning what both sides are said to have agreed on, and what each merge saw of them; before anything happens.
sub watch
{
	my ($sql) = @_;
	$sql->(<<'WATCH');
CREATE TABLE public.base_was (no bigint GENERATED ALWAYS AS IDENTITY, at timestamptz DEFAULT clock_timestamp(), product_id bigint, sku text, location_id bigint, base jsonb, base_local jsonb);
CREATE INDEX ON public.base_was (product_id);
CREATE TABLE public.merge_saw (at timestamptz DEFAULT clock_timestamp(), product_id bigint, local jsonb, shop jsonb);
CREATE INDEX ON public.merge_saw (product_id);
CREATE FUNCTION public.base_was() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	IF TG_TABLE_NAME = 'product_listing' THEN
		INSERT INTO public.base_was (product_id, base, base_local) VALUES (NEW.product_id, NEW.base, NEW.base_local);
	ELSIF TG_TABLE_NAME = 'listing' THEN
		INSERT INTO public.base_was (product_id, sku, base, base_local) SELECT v.product_id, v.sku, NEW.base, NEW.base_local FROM sync.variant v WHERE v.id = NEW.variant_id;
	ELSE
		INSERT INTO public.base_was (product_id, sku, location_id, base) SELECT v.product_id, v.sku, NEW.location_id, to_jsonb(NEW.base) FROM sync.variant v WHERE v.id = NEW.variant_id;
	END IF;
	RETURN NULL;
END
$$;
CREATE FUNCTION public.merge_saw() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	INSERT INTO public.merge_saw (product_id, local, shop)
	SELECT l.product_id, sync.product_document(l.product_id), jsonb_set(NEW.document, '{variants}', (
		SELECT coalesce(jsonb_object_agg(v.value ->> 'sku', v.value), '{}') FROM jsonb_each(NEW.document -> 'variants') v WHERE v.value ->> 'sku' <> ''))
	FROM sync.product_listing l WHERE l.connection = NEW.connection AND l.remote_id = NEW.remote_id;
	RETURN NULL;
END
$$;
CREATE TRIGGER zz_base AFTER INSERT OR UPDATE OF base, base_local ON sync.product_listing FOR EACH ROW EXECUTE FUNCTION public.base_was();
CREATE TRIGGER zz_base AFTER INSERT OR UPDATE OF base, base_local ON sync.listing FOR EACH ROW EXECUTE FUNCTION public.base_was();
CREATE TRIGGER zz_base AFTER INSERT OR UPDATE OF base ON sync.stock_level FOR EACH ROW EXECUTE FUNCTION public.base_was();
CREATE TRIGGER zz_saw AFTER UPDATE OF merge_due ON sync.shopify_product FOR EACH ROW WHEN (OLD.merge_due AND NOT NEW.merge_due) EXECUTE FUNCTION public.merge_saw();
-- What both had agreed on at a moment, as who wrote it.
CREATE FUNCTION public.base_at(who text, of_product bigint, path text, moment timestamptz) RETURNS jsonb LANGUAGE sql STABLE AS $$
	SELECT CASE WHEN k.location_id IS NOT NULL THEN b.base WHEN k.sku IS NULL THEN coalesce(CASE who WHEN 'hand' THEN sync.document_get(b.base_local, path) END, sync.document_get(b.base, path))
		ELSE coalesce(CASE who WHEN 'hand' THEN sync.document_get(jsonb_build_object('variants', jsonb_build_object(k.sku, b.base_local)), path) END,
					  sync.document_get(jsonb_build_object('variants', jsonb_build_object(k.sku, b.base)), path)) END
	FROM (SELECT substring(path FROM '^variants.([^]]*)') AS sku, substring(path FROM '\.stock.([0-9]+)')::bigint AS location_id) k
	CROSS JOIN LATERAL (SELECT w.base, w.base_local FROM public.base_was w
		WHERE w.product_id = of_product AND w.sku IS NOT DISTINCT FROM k.sku AND w.location_id IS NOT DISTINCT FROM k.location_id AND w.at < moment ORDER BY w.no DESC LIMIT 1) b
$$;
WATCH
}

# The last edit of each person of a field: it is there, or somebody changed it later, or it was decided against.
sub loses_nothing
{
	my ($self) = @_;

	my $lost = $self->{sql}->(<<'END');
WITH last AS (
	SELECT DISTINCT ON (e.who, e.product_id, e.path) e.* FROM public.edit e WHERE e.product_id IS NOT NULL AND e.who <> 'erp' ORDER BY e.who, e.product_id, e.path, e.no DESC)
SELECT format('#%s %s of product %s: %s := %s (was %s) at %s; now %s', e.no, e.who, e.product_id, e.path, e.value, e.over, e.at::time(3), n.value)
FROM last e
CROSS JOIN LATERAL (SELECT CASE WHEN e.path LIKE '%.stock[%' THEN (SELECT to_jsonb(k.local) FROM sync.stock_level k JOIN sync.variant v ON v.id = k.variant_id WHERE sync.stock_path(v.sku, k.location_id) = e.path)
							  ELSE sync.document_get(sync.product_document(e.product_id), e.path) END AS value) n
WHERE NOT sync.value_equal(e.path, e.value, n.value)
  -- What was changed in the shop and then deleted there.
  AND NOT (e.path LIKE 'variants[%' AND NOT EXISTS (SELECT FROM public.shop_now w JOIN sync.product_listing l ON l.remote_id = w.remote_id
				   WHERE l.product_id = e.product_id AND w.document -> 'variants' ? substring(e.path FROM '^variants.([^]]*)')))
  AND NOT (e.who = 'merchant' AND EXISTS (SELECT FROM sync.product_listing l WHERE l.product_id = e.product_id AND l.remote_id NOT IN (SELECT remote_id FROM public.shop_now)))
  -- Another person changed it afterwards, seeing this value, or the ERP did.
  AND NOT EXISTS (SELECT FROM public.edit o WHERE o.product_id = e.product_id AND o.path = e.path AND o.no > e.no
				  AND (o.who = 'erp' OR sync.value_equal(e.path, o.over, e.value) OR sync.value_equal(e.path, o.value, e.value)))
  -- It put back what both last agreed on, and nothing that was there in between went to the other side: the net change is none.
  AND NOT (sync.value_equal(e.path, public.base_at(e.who, e.product_id, e.path, e.at), e.value) AND EXISTS (
	SELECT FROM (
		-- When it was last made another value than that: by the same person, or by the feed, which changes the catalogue.
		SELECT max(d.at) AS at FROM (
			SELECT q.at FROM public.edit q WHERE q.product_id = e.product_id AND q.path = e.path AND q.who = e.who AND q.no < e.no AND sync.value_equal(e.path, q.over, e.value)
			UNION ALL SELECT c.at FROM sync.product_change c JOIN sync.connection k ON k.name = c.source AND k.kind = 'etilize'
			WHERE e.who = 'hand' AND c.product_id = e.product_id AND c.path = e.path AND c.at < e.at AND sync.value_equal(e.path, c.old_value, e.value)
			-- Or a decision left it another value here, and made the shop's what was agreed.
			UNION ALL SELECT g.decided_at FROM sync.decision_log g
			WHERE e.who = 'hand' AND g.product_id = e.product_id AND g.path = e.path AND g.decided_at < e.at AND g.outcome <> 'manual'
			  AND sync.value_equal(e.path, g.shopify_value, e.value) AND NOT sync.value_equal(e.path, g.value, e.value)) d) t
	WHERE t.at IS NOT NULL
	  AND NOT EXISTS (SELECT FROM sync.product_change c WHERE c.product_id = e.product_id AND c.path = e.path AND c.source = 'shop' AND c.at > t.at AND c.at < e.at)
	  AND NOT EXISTS (SELECT FROM sync.push p JOIN sync.push_event v ON v.push_id = p.id
					  WHERE p.product_id = e.product_id AND p.wanted ? e.path AND (v.to_state = 'synced' OR v.to_state = 'sent' AND p.part = 'edit') AND v.at > t.at AND v.at < e.at)
	  AND NOT EXISTS (SELECT FROM public.merge_saw m CROSS JOIN LATERAL (SELECT sync.document_get(m.local, e.path) AS local, sync.document_get(m.shop, e.path) AS shop) b
					  WHERE m.product_id = e.product_id AND m.at > t.at AND m.at < e.at AND sync.value_equal(e.path, b.local, b.shop) AND NOT sync.value_equal(e.path, b.local, e.value))))
  -- The ERP counted before but was read afterwards.
  AND NOT EXISTS (SELECT FROM public.edit o JOIN sync.variant v ON v.product_id = o.product_id JOIN sync.stock_level k ON k.variant_id = v.id AND sync.stock_path(v.sku, k.location_id) = o.path
				  WHERE o.product_id = e.product_id AND o.path = e.path AND o.who = 'erp' AND o.value = n.value AND k.erp = k.local AND k.agreed_at > e.at)
  -- The feed, a rollback, or a person who approved what the shop did, in its place.
  AND NOT EXISTS (SELECT FROM sync.product_change c
				  WHERE c.product_id = e.product_id AND c.path = e.path AND c.at > e.at AND (c.source <> 'shop' OR c.actor <> 'product_sync') AND c.kind <> 'manual'
					AND sync.value_equal(e.path, c.old_value, e.value))
  -- It was weighed, and a person took the other one, or a threshold of docs/conflicts.md did, as it may.  What was handed to a person is not decided.
  AND NOT EXISTS (SELECT FROM sync.decision_log g WHERE g.product_id = e.product_id AND g.path = e.path AND g.decided_at > e.at
				  AND (sync.value_equal(e.path, g.local_value, e.value) OR sync.value_equal(e.path, g.shopify_value, e.value)) AND NOT sync.value_equal(e.path, g.value, e.value)
				  AND (g.rule = 'person' OR g.field = 'inventory' AND g.outcome <> 'manual'
					   OR g.field = 'price' AND g.outcome = 'use_shopify' AND jsonb_typeof(g.local_value) = 'number' AND jsonb_typeof(g.shopify_value) = 'number'
						  AND abs(g.local_value::numeric - g.shopify_value::numeric) * 100 < 5 * least(g.local_value::numeric, g.shopify_value::numeric)))
  AND NOT EXISTS (SELECT FROM sync.conflict c WHERE c.product_id = e.product_id AND c.path = e.path AND c.state = 'applied' AND c.closed_at > e.at
				  AND (sync.value_equal(e.path, c.local_value, e.value) OR sync.value_equal(e.path, c.shopify_value, e.value))
				  AND NOT sync.value_equal(e.path, CASE c.choice WHEN 'local' THEN c.local_value WHEN 'shopify' THEN c.shopify_value ELSE c.custom_value END, e.value))
  -- It waits for a person: then it is still there, in the shop.
  AND NOT (e.who = 'merchant' AND public.waits(e.product_id, e.path) AND sync.value_equal(e.path, e.value, (
	SELECT CASE WHEN e.path LIKE '%.stock[%' THEN (SELECT to_jsonb(s.available) FROM public.stock_now s WHERE s.remote_id = w.remote_id AND sync.stock_path(s.sku, s.location_id) = e.path)
				ELSE sync.document_get(w.document, e.path) END
	FROM public.shop_now w JOIN sync.product_listing l ON l.remote_id = w.remote_id WHERE l.product_id = e.product_id)))
ORDER BY e.no
END
	is($lost, '', 'no edit by a person is lost') or diag map { /of product (\d+): (\S+) :=/ ? $self->field_story($1, $2) : () } split /\n/, $lost;
}

sub rests
{
	my ($self) = @_;
	my ($shop, $pusher) = @$self{qw(shop pusher)};

	my $state = "SELECT concat_ws(' ', (SELECT count(*) FROM sync.product_version), (SELECT count(*) FROM sync.staging), (SELECT count(*) FROM sync.decision_log),"
		. " (SELECT md5(string_agg(concat_ws('|', id, state, choice), ',' ORDER BY id)) FROM sync.conflict),"
		. " (SELECT md5(string_agg(d.document::text, ',' ORDER BY d.product_id)) FROM sync.product_documents(ARRAY(SELECT id FROM sync.product)) d))";
	my $now = sub { return $self->{sql}->($state) . ' ' . $shop->writes };
	my $before = $now->();
	$self->{again} ? $self->{again}->() : $self->{settle}->();
	$pusher->push;
	is($now->(), $before, 'running again changes nothing');

	is($self->{sql}->('SELECT product_id FROM sync.product_version GROUP BY product_id HAVING count(*) <> max(version) OR min(version) <> 1'), '', 'versions have no gaps');
	is($self->{sql}->('SELECT p.id FROM sync.product p WHERE sync_as_of(p.id, now()) IS DISTINCT FROM sync.product_document(p.id)'), '', 'and the newest is what the catalogue has');
}

# The numbers.
sub tells
{
	my ($self) = @_;
	my ($world, $pusher) = @$self{qw(world pusher)};

	$world->{counts}{$_} = $pusher->{$_} for qw(sent lost stale);
	note sprintf "seed %s, %.1f s: %d edits in all", $world->{seed}, time - $^T, scalar @{ $world->{edits} };
	note join ', ', map { "$_ $world->{counts}{$_}" } sort keys %{ $world->{counts} };
	note $self->{sql}->("SELECT 'conflicts ' || string_agg(state || ' ' || n, ', ' ORDER BY state) FROM (SELECT state, count(*) AS n FROM sync.conflict GROUP BY state) c");
	note $self->{sql}->("SELECT 'decisions ' || string_agg(rule || ' ' || outcome || ' ' || n, ', ' ORDER BY rule) FROM (SELECT rule, outcome, count(*) AS n FROM sync.decision_log GROUP BY rule, outcome) c");
	note $self->{sql}->("SELECT format('%s versions of %s products, %s frozen', (SELECT count(*) FROM sync.product_version), (SELECT count(*) FROM sync.product), (SELECT count(*) FROM sync.field_lock WHERE kind = 'freeze'))");
}

1;
