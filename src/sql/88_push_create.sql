-- New products for a shop.

CREATE FUNCTION sync.push_create_request(call sync.push_call, OUT request jsonb, OUT cost numeric, OUT body jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	RETURN;
END
$$;

CREATE FUNCTION sync.push_create_response(call sync.push_call, data jsonb, OUT outcome text, OUT retry_in interval, OUT error jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	outcome := 'done';
END
$$;
